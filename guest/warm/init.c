// The init of a kernel that was booted before anybody knew for which guest (the warm pool): the only program of its
// initramfs. It says "waiting" on a serial line (/dev/ttyS63), and waits there for one line:
//
//   claim SEED COMMAND-LINE
//
// SEED is 128 hexadecimal digits for the random pool, COMMAND-LINE the arguments with which a kernel would have been booted
// for this guest. The guest's devices are there by then. What the kernel itself would do between its boot and the guest's
// init is done here, from the same words: mount the root, find the init. Then it says "ready" and becomes that init, or
// "failed WHY", and nothing of the guest has run.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

// What a kernel's command line and the rest of the message come to at most.
enum { kMessage = 8192, kWords = 512, kSeed = 64 };

static int line_fd;

static void Say(const char* word, const char* why) {
  char text[512];
  const int length = snprintf(text, sizeof(text), "%s%s%s\n", word, *why ? " " : "", why);
  if (write(line_fd, text, length < (int)sizeof(text) ? length : (int)sizeof(text) - 1) < 0) _exit(1);
}

// The supervisor ends the kernel.
static void Fail(const char* why) {
  Say("failed", why);
  for (;;) pause();
}

static void FailAt(const char* what) {
  char text[256];
  snprintf(text, sizeof(text), "%s: %s", what, strerror(errno));
  Fail(text);
}

// ---------------------------------------------------------------- the message

static void OpenLine(void) {
  // The supervisor writes no byte before it has heard from us, when the line is transparent.
  line_fd = open("/dev/ttyS63", O_RDWR | O_NOCTTY | O_CLOEXEC);
  struct termios raw;
  if (line_fd < 0 || tcgetattr(line_fd, &raw) != 0) _exit(1);
  cfmakeraw(&raw);
  if (tcsetattr(line_fd, TCSANOW, &raw) != 0) _exit(1);
}

static void ReadMessage(char* message) {
  size_t length = 0;
  while (length < kMessage - 1) {
    const ssize_t got = read(line_fd, message + length, kMessage - 1 - length);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) _exit(1);
    length += got;
    if (message[length - 1] == '\n') {
      message[length - 1] = 0;
      return;
    }
  }
  Fail("the message is too long");
}

static int HexDigit(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

// Counted as entropy: it is the host's own.
static void Seed(const char* hex) {
  struct {
    struct rand_pool_info info;
    unsigned char bytes[kSeed];
  } pool = {{kSeed * 8, kSeed}, {0}};
  for (int i = 0; i < kSeed; ++i) pool.bytes[i] = HexDigit(hex[2 * i]) << 4 | HexDigit(hex[2 * i + 1]);
  const int random = open("/dev/urandom", O_RDWR | O_CLOEXEC);
  if (random < 0 || ioctl(random, RNDADDENTROPY, &pool) != 0) FailAt("the random pool");
  ioctl(random, RNDRESEEDCRNG);
  close(random);
}

// ---------------------------------------------------------------- the command line

static struct {
  const char *root, *types, *options, *init, *host_name;
  bool writable, quiet;
  char* arguments[kWords + 2];  // of the init; [0] is its path
  int argument_count;
} wanted = {.argument_count = 1};

static const char* After(const char* word, const char* prefix) {
  const size_t length = strlen(prefix);
  return strncmp(word, prefix, length) == 0 ? word + length : NULL;
}

static void TakeWord(char* word, bool for_init) {
  const char* value;
  if (for_init) {
    if (wanted.argument_count < kWords) wanted.arguments[wanted.argument_count++] = word;
  } else if ((value = After(word, "root="))) {
    wanted.root = value;
  } else if ((value = After(word, "rootfstype="))) {
    wanted.types = value;
  } else if ((value = After(word, "rootflags="))) {
    wanted.options = value;
  } else if ((value = After(word, "init="))) {
    wanted.init = value;
    wanted.argument_count = 1;  // as the kernel does: those before it were not meant for this one
  } else if ((value = After(word, "hostname="))) {
    wanted.host_name = value;
  } else if (strcmp(word, "rw") == 0) {
    wanted.writable = true;
  } else if (strcmp(word, "ro") == 0) {
    wanted.writable = false;
  } else if (strcmp(word, "quiet") == 0) {
    wanted.quiet = true;
  } else if (strpbrk(word, "=.:") == NULL && strcmp(word, "rootwait") != 0) {
    // What neither the kernel nor a module knows.
    if (wanted.argument_count < kWords) wanted.arguments[wanted.argument_count++] = word;
  }
}

// Words as the kernel has them: quotes hold one together, and are not part of it at its ends.
static void ReadCommandLine(char* line) {
  bool for_init = false;
  while (*line) {
    while (*line == ' ') ++line;
    if (!*line) return;
    char *word = line, *end = line;
    bool quoted = false;
    for (; *line && (quoted || *line != ' '); ++line) {
      if (*line == '"') {
        quoted = !quoted;
      } else {
        *end++ = *line;
      }
    }
    if (*line) ++line;
    *end = 0;
    if (strcmp(word, "--") == 0 && !for_init) {
      for_init = true;
    } else {
      TakeWord(word, for_init);
    }
  }
}

static void WriteFile(const char* path, const char* text) {
  const int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
  if (fd < 0 || write(fd, text, strlen(text)) < 0) FailAt(path);
  close(fd);
}

// ---------------------------------------------------------------- the root

// What the kernel calls the device that it mounts, and what /proc/mounts then says.
static const char kRoot[] = "/dev/root";

static bool TryMount(const char* type) {
  const unsigned long flags = MS_SILENT | (wanted.writable ? 0 : MS_RDONLY);
  if (mount(kRoot, "/root", type, flags, wanted.options) == 0) return true;
  return errno == EACCES && mount(kRoot, "/root", type, flags | MS_RDONLY, wanted.options) == 0;
}

// The types that were asked for, or as the kernel all that it has, in its order.
static void MountRoot(void) {
  char types[4096] = "", *rest = types;
  if (wanted.types) {
    snprintf(types, sizeof(types), "%s", wanted.types);
    for (char* comma = types; (comma = strchr(comma, ',')); *comma++ = '\n') {}
  } else {
    FILE* file = fopen("/proc/filesystems", "re");
    if (!file) FailAt("/proc/filesystems");
    char type[128];
    while (fgets(type, sizeof(type), file)) {
      if (type[0] == '\t') strncat(types, type + 1, sizeof(types) - strlen(types) - 1);
    }
    fclose(file);
  }
  struct stat device;
  if (stat(wanted.root, &device) != 0) FailAt(wanted.root);
  if (mknod(kRoot, S_IFBLK | 0600, device.st_rdev) != 0) FailAt(kRoot);
  for (char* type; (type = strsep(&rest, "\n"));) {
    if (!*type) continue;
    if (TryMount(type)) {
      unlink(kRoot);
      return;
    }
    if (errno != EINVAL && errno != ENODEV) break;
  }
  FailAt(wanted.root);
}

// The guest finds /proc mounted, with the words of its own kernel in cmdline; a mount of its own fails as busy, and that is
// all.
static void ShowCommandLine(void) {
  if (mount("/proc", "/root/proc", NULL, MS_MOVE, NULL) != 0) return;  // it has no such folder: no such file either
  if (mount("/cmdline", "/root/proc/cmdline", NULL, MS_BIND, NULL) != 0 ||
      mount(NULL, "/root/proc/cmdline", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) != 0) {
    FailAt("/proc/cmdline");
  }
}

static bool IsProgram(const char* path) {
  struct stat info;
  return stat(path, &info) == 0 && S_ISREG(info.st_mode) && access(path, X_OK) == 0;
}

static void FindInit(void) {
  static const char* const kInits[] = {"/sbin/init", "/etc/init", "/bin/init", "/bin/sh"};
  if (wanted.init) {
    if (!IsProgram(wanted.init)) FailAt(wanted.init);
    return;
  }
  for (size_t i = 0; i < sizeof(kInits) / sizeof(*kInits); ++i) {
    if (!IsProgram(kInits[i])) continue;
    wanted.init = kInits[i];
    return;
  }
  Fail("there is no init");
}

int main(void) {
  static char message[kMessage], command_line[kMessage];
  if (mount("devtmpfs", "/dev", "devtmpfs", MS_SILENT, NULL) != 0 || mount("proc", "/proc", "proc", 0, NULL) != 0) {
    return 1;
  }
  OpenLine();
  Say("waiting", "");
  ReadMessage(message);

  char* seed = (char*)After(message, "claim ");
  if (!seed || strlen(seed) < 2 * kSeed + 1 || seed[2 * kSeed] != ' ') Fail("this is no claim");
  Seed(seed);
  char* words = seed + 2 * kSeed + 1;
  snprintf(command_line, sizeof(command_line), "%s\n", words);
  WriteFile("/cmdline", command_line);
  ReadCommandLine(words);
  if (!wanted.root) Fail("no root");
  if (wanted.host_name && sethostname(wanted.host_name, strlen(wanted.host_name)) != 0) FailAt("the host name");
  if (wanted.quiet) WriteFile("/proc/sys/kernel/printk", "4");
  MountRoot();
  mount("/dev", "/root/dev", NULL, MS_MOVE, NULL);  // a root without one has none after a boot either
  ShowCommandLine();

  // What is left of the initramfs is memory.
  unlink("/init");
  unlink("/cmdline");
  if (chdir("/root") != 0 || mount(".", "/", NULL, MS_MOVE, NULL) != 0 || chroot(".") != 0 || chdir("/") != 0) {
    FailAt("change the root");
  }
  FindInit();
  wanted.arguments[0] = (char*)wanted.init;
  char* environment[] = {"HOME=/", "TERM=linux", NULL};
  Say("ready", "");
  execve(wanted.init, wanted.arguments, environment);
  FailAt(wanted.init);
}
