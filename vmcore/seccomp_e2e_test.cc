// Real guests under the seccomp filter: what it stops, and what it does not.
#include <dirent.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "vmcore/e2e_requests.h"
#include "vmcore/e2e_rig.h"

namespace umld::vmcore {
namespace {

using std::chrono::milliseconds;

// A field of /proc/PID/status: "Seccomp", "PPid".
int StatusField(pid_t pid, const std::string& field) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/status"));
  int value = -1;
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, field.size() + 1, field + ":") == 0) sscanf(line.c_str() + field.size() + 1, "%d", &value);
  }
  return value;
}

// A process and all below it.
std::set<pid_t> Family(pid_t root) {
  std::set<pid_t> family = {root};
  for (size_t before = 0; before != family.size();) {
    before = family.size();
    DIR* proc = opendir("/proc");
    while (const dirent* entry = readdir(proc)) {
      pid_t pid = 0;
      if (absl::SimpleAtoi(entry->d_name, &pid) && family.count(StatusField(pid, "PPid")) != 0) family.insert(pid);
    }
    closedir(proc);
  }
  return family;
}

// Makes a process make a system call, as somebody would who has taken over the kernel: it goes on where the call
// stands.
void MakeItCall(pid_t pid, long number, unsigned long first, unsigned long second) {
  ASSERT_EQ(ptrace(PTRACE_ATTACH, pid, nullptr, nullptr), 0) << strerror(errno);
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, __WALL), pid);
  user_regs_struct registers = {};
  ASSERT_EQ(ptrace(PTRACE_GETREGS, pid, nullptr, &registers), 0);
  errno = 0;
  const long word = ptrace(PTRACE_PEEKTEXT, pid, registers.rip, nullptr);
  ASSERT_EQ(errno, 0);
  // syscall
  ASSERT_EQ(ptrace(PTRACE_POKETEXT, pid, registers.rip, (word & ~0xffffL) | 0x050f), 0);
  registers.orig_rax = ~0UL;  // the call that it sleeps in is not begun again
  registers.rax = static_cast<unsigned long>(number);
  registers.rdi = first;
  registers.rsi = second;
  ASSERT_EQ(ptrace(PTRACE_SETREGS, pid, nullptr, &registers), 0);
  ASSERT_EQ(ptrace(PTRACE_DETACH, pid, nullptr, nullptr), 0);
}

const v1::ConfinementPoint* Point(const v1::Facts& facts, const std::string& name) {
  for (const v1::ConfinementPoint& point : facts.confinement_points()) {
    if (point.name() == name) return &point;
  }
  return nullptr;
}

TEST(SeccompE2eTest, EveryProcessOfAConfinedKernelIsUnderTheFilter) {
  Rig rig;
  rig.Boot();
  v1::Facts facts = GetFacts(rig.control());
  const v1::ConfinementPoint* point = Point(facts, "seccomp");
  ASSERT_NE(point, nullptr);
  EXPECT_TRUE(point->in_force());
  const std::set<pid_t> family = Family(facts.kernel().pid());
  EXPECT_GE(family.size(), 4U);  // itself, two helpers, and a stub at least
  for (pid_t pid : family) {
    EXPECT_EQ(StatusField(pid, "Seccomp"), 2) << pid;
    EXPECT_EQ(StatusField(pid, "NoNewPrivs"), 1) << pid;
  }
  EXPECT_EQ(StatusField(rig.vmcore(), "Seccomp"), 0);
}

TEST(SeccompE2eTest, AForbiddenCallEndsTheGuestAndIsNamed) {
  Rig rig;
  rig.Boot();
  MakeItCall(GetFacts(rig.control()).kernel().pid(), SYS_unshare, CLONE_NEWUSER, 0);
  auto exit = rig.control().WaitForExit(milliseconds(10000));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->kind(), v1::Exit::CRASHED);
  EXPECT_EQ(exit->reason().find("killed: the kernel made a system call that its seccomp filter forbids: "
                                "unshare(0x10000000, 0x0, "),
            0U)
      << exit->reason();
  ExpectCleanEnd(rig, v1::Exit::CRASHED);
}

TEST(SeccompE2eTest, AHelpersForbiddenCallEndsTheGuestToo) {
  Rig rig;
  rig.Boot();
  const pid_t kernel = GetFacts(rig.control()).kernel().pid();
  // Its first child is not traced: the stubs come later.
  pid_t helper = 0;
  for (pid_t pid : Family(kernel)) {
    if (pid != kernel && StatusField(pid, "TracerPid") == 0) helper = pid;
  }
  ASSERT_NE(helper, 0);
  MakeItCall(helper, SYS_socket, AF_INET, SOCK_STREAM);
  auto exit = rig.control().WaitForExit(milliseconds(10000));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->kind(), v1::Exit::CRASHED);
  EXPECT_NE(exit->reason().find("socket(0x2, 0x1, "), std::string::npos) << exit->reason();
  ExpectCleanEnd(rig, v1::Exit::CRASHED);
}

TEST(SeccompE2eTest, ARelaxedGuestHasNoFilter) {
  Rig rig;
  v1::Launch launch = rig.NewLaunch();
  launch.set_confinement(v1::CONFINEMENT_RELAXED);
  rig.Start(launch);
  ASSERT_TRUE(rig.control().WaitForState(v1::STATE_RUNNING));
  v1::Facts facts = GetFacts(rig.control());
  EXPECT_EQ(StatusField(facts.kernel().pid(), "Seccomp"), 0);
  EXPECT_EQ(Point(facts, "seccomp"), nullptr);
}

// A static program that makes system calls that the filter forbids and exits with 7.
std::string ForbiddenCallsProgram() {
  std::string code;
  for (uint32_t number : {SYS_unshare, SYS_mount, SYS_bpf, SYS_userfaultfd, SYS_io_uring_setup, SYS_process_vm_readv,
                          SYS_keyctl, SYS_perf_event_open, SYS_pidfd_open, 1000}) {
    code += "\x31\xff\x31\xf6\x31\xd2\xb8";  // xor edi, edi; xor esi, esi; xor edx, edx; mov eax, number
    code.append(reinterpret_cast<const char*>(&number), sizeof(number));
    code += "\x0f\x05";  // syscall
  }
  code += std::string("\xbf\x07\x00\x00\x00\xb8\x3c\x00\x00\x00\x0f\x05", 12);  // exit(7)
  struct {
    unsigned char ident[16] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
    uint16_t type = 2, machine = 62;
    uint32_t version = 1;
    uint64_t entry = 0x400078, headers = 64, sections = 0;
    uint32_t flags = 0;
    uint16_t size = 64, header_size = 56, header_count = 1, section_size = 0, section_count = 0, names = 0;
    uint32_t segment = 1, readable_executable = 5;
    uint64_t offset = 0, address = 0x400000, physical = 0x400000, in_file = 4096, in_memory = 4096, align = 4096;
  } header;
  static_assert(sizeof(header) == 0x78);
  std::string program(reinterpret_cast<const char*>(&header), sizeof(header));
  program += code;
  program.resize(4096);
  return program;
}

TEST(SeccompE2eTest, TheGuestsOwnSystemCallsNeverMeetTheFilter) {
  Rig rig;
  const std::string disk = rig.MakeFile("program", 4096);
  std::ofstream(disk, std::ios::binary) << ForbiddenCallsProgram();
  rig.Boot();
  ASSERT_FALSE(rig.control().Ask(PlugRequest(1, disk)).has_error());
  RigConsole console = rig.OpenConsole("con1");
  console.Type("mount -t tmpfs none /mnt && unshare -m true && dd if=/dev/ubdb of=/mnt/x bs=4096 count=1\n");
  console.Type("chmod 755 /mnt/x; /mnt/x; echo co''de $?\n");
  EXPECT_TRUE(console.Expect("code 7")) << console.seen();
  EXPECT_EQ(GetFacts(rig.control()).state(), v1::STATE_RUNNING);
}

}  // namespace
}  // namespace umld::vmcore
