#include "kernel/kernel_reader.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "base/process.h"
#include "base/status.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernel/kernel_features.h"
#include "kernel/kernel_inspect.h"

namespace umld::kernel {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr char kDebianKernel[] = "/usr/bin/linux.uml";
constexpr char kBanner[] = "Linux version 6.1.0-test (me) #1 Mon";

// An ELF program of this machine with named sections, which may have content: the section headers are the last thing
// in the file, and may be spoilt.
std::string Elf(const std::vector<std::pair<std::string, std::string>>& sections) {
  Elf64_Ehdr header = {};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_machine = EM_X86_64;
  header.e_shentsize = sizeof(Elf64_Shdr);
  std::string names("\0", 1), content(sizeof(header), '\0');
  std::vector<Elf64_Shdr> table(1);
  const auto add = [&](const std::string& name, const std::string& bytes) {
    Elf64_Shdr section = {};
    section.sh_name = static_cast<uint32_t>(names.size());
    section.sh_type = absl::StartsWith(name, ".note") ? SHT_NOTE : name == ".symtab" ? SHT_SYMTAB : SHT_PROGBITS;
    section.sh_offset = content.size();
    section.sh_size = bytes.size();
    table.push_back(section);
    names += name + '\0';
    content += bytes;
  };
  for (const auto& [name, bytes] : sections) add(name, bytes);
  names += std::string(".names\0", 7);
  Elf64_Shdr section = {};
  section.sh_name = static_cast<uint32_t>(names.size() - 7);
  section.sh_offset = content.size();
  section.sh_size = names.size();
  table.push_back(section);
  content += names;
  header.e_shnum = static_cast<uint16_t>(table.size());
  header.e_shstrndx = static_cast<uint16_t>(table.size() - 1);
  header.e_shoff = content.size();
  content.append(reinterpret_cast<const char*>(table.data()), table.size() * sizeof(Elf64_Shdr));
  std::memcpy(content.data(), &header, sizeof(header));
  return content;
}

// NULs around each, as the compiler lays them out.
std::string Strings(const std::vector<std::string>& strings) {
  std::string bytes(1, '\0');
  for (const std::string& string : strings) bytes += string + '\0';
  return bytes;
}

std::string BuildIdNote(const std::string& id) {
  const Elf64_Nhdr note = {4, static_cast<uint32_t>(id.size()), NT_GNU_BUILD_ID};
  return std::string(reinterpret_cast<const char*>(&note), sizeof(note)) + std::string("GNU\0", 4) + id;
}

std::string Kernel(const std::vector<std::string>& strings) {
  return Elf({{".uml.setup.init", "x"}, {".note.gnu.build-id", BuildIdNote("abcd")}, {".rodata", Strings(strings)}});
}

class KernelReaderTest : public ::testing::Test {
 protected:
  KernelReaderTest() {
    std::string name = ::testing::TempDir() + "reader.XXXXXX";
    folder_ = mkdtemp(name.data());
  }
  ~KernelReaderTest() override { fs::remove_all(folder_); }

  std::string Write(const std::string& content) const {
    const std::string path = folder_ + "/file";
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
    chmod(path.c_str(), 0755);
    return path;
  }
  static absl::StatusOr<KernelText> Read(const std::string& path) {
    UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    return ReadKernel(fd.get(), path);
  }
  absl::StatusOr<KernelText> ReadBytes(const std::string& content) const { return Read(Write(content)); }
  std::string Why(const std::string& content) const {
    const absl::Status status = ReadBytes(content).status();
    EXPECT_EQ(GetErrorDetail(status).reason, "NOT_A_UML_KERNEL") << status;
    return std::string(status.message());
  }

  std::string folder_;
};

TEST_F(KernelReaderTest, DebiansKernelSaysWhatItPrintsWhenItRuns) {
  if (access(kDebianKernel, X_OK) != 0) GTEST_SKIP() << "user-mode-linux is not installed";
  const absl::StatusOr<KernelText> text = Read(kDebianKernel);
  ASSERT_TRUE(text.ok()) << text.status();
  // RunCommand keeps 64 KiB of the 120.
  const auto shown =
      RunCommand({"/bin/sh", "-c", std::string(kDebianKernel) + " --showconfig | grep CONFIG_ >" + folder_ + "/config"},
                 std::chrono::seconds(20));
  ASSERT_TRUE(shown.ok() && shown->exit_code == 0);
  std::ostringstream config;
  config << std::ifstream(folder_ + "/config").rdbuf();
  EXPECT_GT(text->config.size(), 1000u);
  const std::vector<std::string> lines = absl::StrSplit(config.str(), '\n', absl::SkipEmpty());
  EXPECT_EQ(text->config, lines);
  const auto version = RunCommand({kDebianKernel, "--version"}, std::chrono::seconds(20));
  ASSERT_TRUE(version.ok());
  EXPECT_EQ(text->version + "\n", version->output);
  EXPECT_THAT(text->banner, HasSubstr("Linux version " + text->version + " ("));
  EXPECT_EQ(text->build_id.size(), 40u);
  EXPECT_FALSE(text->has_seccomp_mode);

  const KernelFeatures features = FeaturesOf(*text);
  EXPECT_TRUE(features.ubd && features.mconsole && features.hostfs && features.modules && features.dev_mem);
  EXPECT_TRUE(features.serial_lines && features.virtio && features.initrd && !features.smp);
  EXPECT_THAT(features.network, Contains("tuntap"));
  EXPECT_THAT(features.network, Contains("vector"));
  EXPECT_THAT(features.consoles, ElementsAre("fd", "null", "port", "pty", "tty", "xterm"));
  EXPECT_EQ(features.process_mode, "ptrace");
  std::string warnings;
  for (const std::string& warning : WarningsOf(*text, features)) warnings += warning;
  EXPECT_THAT(warnings, HasSubstr("Loadable modules"));
  EXPECT_THAT(warnings, HasSubstr("/dev/mem"));
  EXPECT_THAT(warnings, HasSubstr("hostfs"));
}

TEST_F(KernelReaderTest, DebiansKernelNeedsWhatItsLoaderSays) {
  if (access(kDebianKernel, X_OK) != 0) GTEST_SKIP() << "user-mode-linux is not installed";
  const auto libraries = KernelLibraries(kDebianKernel);
  ASSERT_TRUE(libraries.ok()) << libraries.status();
  const auto listed = RunCommand({libraries->front(), "--list", kDebianKernel}, std::chrono::seconds(20));
  ASSERT_TRUE(listed.ok() && listed->exit_code == 0);
  EXPECT_GE(libraries->size(), 3u);
  for (const std::string& file : *libraries) {
    if (file == "/etc/ld.so.cache") continue;
    EXPECT_THAT(listed->output, HasSubstr(file + " ("));
  }
  // Static, and not a program at all.
  EXPECT_THAT(*KernelLibraries(Write(Kernel({}))), IsEmpty());
  EXPECT_FALSE(KernelLibraries(Write("#!/bin/sh\n")).ok());
}

// Its guest is shown what it says that it needs: that must be nothing that not everybody on the host may read.
TEST_F(KernelReaderTest, WhatAKernelNeedsIsTheSystemsAndForAll) {
  std::ostringstream program;
  program << std::ifstream("/bin/true", std::ios::binary).rdbuf();
  ASSERT_TRUE(KernelLibraries(Write(program.str())).ok());
  auto with = [&](const std::string& there, std::string instead) {
    instead.resize(there.size());
    return std::string(
        KernelLibraries(Write(absl::StrReplaceAll(program.str(), {{there, instead}}))).status().message());
  };
  const std::string loader = "/lib64/ld-linux-x86-64.so.2";
  EXPECT_THAT(with(loader, "/etc/shadow"), HasSubstr("its interpreter /etc/shadow is not this system's"));
  EXPECT_THAT(with(loader, "/etc/passwd"), HasSubstr("its interpreter /etc/passwd is not this system's"));
  EXPECT_THAT(with(loader, "/nonexistent"), HasSubstr("its interpreter /nonexistent"));
  EXPECT_THAT(with(loader, "/lib64/../etc/passwd"), HasSubstr("its interpreter /lib64/../etc/passwd"));
  EXPECT_THAT(with("libc.so.6", "../x.so.6"), HasSubstr("damaged"));
  EXPECT_THAT(with("libc.so.6", ".."), HasSubstr("is not for everybody to read"));
}

TEST_F(KernelReaderTest, OnlyWholeLinesOfAConfigurationCount) {
  const auto text = ReadBytes(Kernel({kBanner + std::string("\n"), "CONFIG_A=y\n", "# CONFIG_B is not set\n",
                                      "CONFIG_C=\"x y\"\n", "CONFIG_D=0x1f\n", "CONFIG_E=-3\n", "CONFIG_F=m\n",
                                      // Not lines of one:
                                      "CONFIG_G=y", "CONFIG_H=yes\n", "CONFIG_=y\n", "CONFIG_I=\"\x1b[31m\"\n",
                                      "see CONFIG_J=y\n", "CONFIG_K is needed\n", "# CONFIG_L=y is not set\n"}));
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(text->config, ElementsAre("CONFIG_A=y", "# CONFIG_B is not set", "CONFIG_C=\"x y\"", "CONFIG_D=0x1f",
                                        "CONFIG_E=-3", "CONFIG_F=m"));
  EXPECT_EQ(text->version, "6.1.0-test");
  EXPECT_EQ(text->banner, kBanner);
  EXPECT_EQ(text->build_id, "61626364");
  EXPECT_FALSE(FeaturesOf(*text).modules);
}

TEST_F(KernelReaderTest, StringsMayLieAnywhere) {
  // Over the border of what is read at once, and after one that is longer than all of that.
  for (size_t before : {(size_t{1} << 20) - 300, (size_t{1} << 20) - 277, (size_t{1} << 20) - 1, size_t{3} << 20}) {
    const auto text = ReadBytes(Kernel({std::string(before, 'x'), "CONFIG_MODULES=y\n"}));
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_THAT(text->config, ElementsAre("CONFIG_MODULES=y")) << before;
  }
}

TEST_F(KernelReaderTest, ASeccompModeIsSeenAndExplained) {
  const auto text =
      ReadBytes(Kernel({"CONFIG_UML=y\n", "seccomp=<on/auto/off>\n    Configure whether or not SECCOMP is used.\n"}));
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_TRUE(text->has_seccomp_mode);
  EXPECT_EQ(FeaturesOf(*text).process_mode, "ptrace or seccomp");
  EXPECT_THAT(WarningsOf(*text, FeaturesOf(*text)), Contains(HasSubstr("trusted userspace")));
}

TEST_F(KernelReaderTest, OursSaysThatItReadsCowFilesRight) {
  const auto reads_right = [this](const std::string& banner) {
    const auto text = ReadBytes(Kernel({banner}));
    return text.ok() && ReadsCowRight(*text);
  };
  EXPECT_TRUE(reads_right("Linux version 6.1.176-umld (umld@umld) (gcc 12.2.0) #1 Sat Jul 4\n"));
  EXPECT_FALSE(reads_right("Linux version 6.1.176 (buildd@host) (gcc 12.2.0) #1 Sat Jul 4\n"));
  EXPECT_FALSE(reads_right("Linux version 6.1.176-umld (me@host) (gcc 12.2.0) #1 Sat Jul 4\n"));
  EXPECT_FALSE(reads_right("Linux version 6.1.176 (umld@umld) (gcc 12.2.0) #1 Sat Jul 4\n"));
}

TEST_F(KernelReaderTest, AKernelMayBeSilent) {
  const auto text = ReadBytes(Elf({{".uml.setup.init", "x"}}));
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_EQ(text->version + text->banner + text->build_id, "");
  EXPECT_FALSE(FeaturesOf(*text).config_known);
  EXPECT_THAT(WarningsOf(*text, FeaturesOf(*text)), Contains(HasSubstr("how it was configured")));
}

TEST_F(KernelReaderTest, AVersionIsFitToBeAFolder) {
  for (const char* version : {"../../etc", "6/1", "6.1\x1b[1m", "", "x6.1"}) {
    const auto text = ReadBytes(Kernel({absl::StrCat("Linux version ", version, " (me)\n")}));
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(text->version, "") << version;
  }
}

TEST_F(KernelReaderTest, WhatIsNoKernelHasItsWords) {
  EXPECT_THAT(Why(""), HasSubstr("it is not an ELF program"));
  EXPECT_THAT(Why("#!/bin/sh\nexec linux\n"), HasSubstr("it is not an ELF program"));
  EXPECT_THAT(Why(Elf({{".text", "x"}})), HasSubstr(".uml.setup.init is missing"));
  UniqueFd folder(open(folder_.c_str(), O_RDONLY | O_CLOEXEC));
  EXPECT_FALSE(ReadKernel(folder.get(), folder_).ok());
  ASSERT_EQ(mkfifo((folder_ + "/fifo").c_str(), 0600), 0);
  EXPECT_FALSE(Read(folder_ + "/fifo").ok());
}

TEST_F(KernelReaderTest, AConfigurationWithoutEndIsRefused) {
  std::vector<std::string> lines(30'000, "CONFIG_A=y\n");
  EXPECT_THAT(Why(Kernel(lines)), HasSubstr("no end"));
  lines.assign(1'000, absl::StrCat("CONFIG_A=\"", std::string(4'000, 'x'), "\"\n"));
  EXPECT_THAT(Why(Kernel(lines)), HasSubstr("no end"));
}

// A compressed configuration (CONFIG_IKCONFIG) is never opened, so one that would fill the memory does nothing.
TEST_F(KernelReaderTest, CompressedContentStaysClosed) {
  const auto bomb = RunCommand({"/bin/sh", "-c", "head -c 100000000 /dev/zero | gzip -9 >" + folder_ + "/bomb"},
                               std::chrono::seconds(60));
  ASSERT_TRUE(bomb.ok() && bomb->exit_code == 0);
  std::ostringstream bytes;
  bytes << "IKCFG_ST" << std::ifstream(folder_ + "/bomb", std::ios::binary).rdbuf() << "IKCFG_ED";
  const auto text = ReadBytes(Elf({{".uml.setup.init", "x"}, {".rodata", bytes.str()}}));
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(text->config, IsEmpty());
}

// Every number in the tables, replaced by ones that lie: an answer, and no read beyond.
TEST_F(KernelReaderTest, TablesThatLie) {
  const std::string bytes = Kernel({"CONFIG_A=y\n"});
  Elf64_Ehdr header = {};
  std::memcpy(&header, bytes.data(), sizeof(header));
  for (uint64_t lie : {uint64_t{1} << 63, UINT64_MAX, uint64_t{1} << 62, uint64_t{0}, uint64_t{1}, bytes.size() - 1}) {
    for (size_t at = header.e_shoff; at + sizeof(lie) <= bytes.size(); at += sizeof(lie)) {
      std::string spoilt = bytes;
      std::memcpy(&spoilt[at], &lie, sizeof(lie));
      ReadBytes(spoilt).status().IgnoreError();
      ReadSymbols(UniqueFd(open(Write(spoilt).c_str(), O_RDONLY | O_CLOEXEC)).get(), "x").status().IgnoreError();
      KernelLibraries(Write(spoilt)).status().IgnoreError();
    }
    for (size_t at = EI_NIDENT; at + sizeof(lie) <= sizeof(header); ++at) {
      std::string spoilt = bytes;
      std::memcpy(&spoilt[at], &lie, sizeof(lie));
      ReadBytes(spoilt).status().IgnoreError();
    }
  }
  for (size_t length = 0; length < bytes.size(); length += 3) {
    EXPECT_FALSE(ReadBytes(bytes.substr(0, length)).ok()) << length;
  }
}

TEST_F(KernelReaderTest, DebiansKernelSpoilt) {
  if (access(kDebianKernel, X_OK) != 0) GTEST_SKIP() << "user-mode-linux is not installed";
  std::ostringstream whole;
  whole << std::ifstream(kDebianKernel, std::ios::binary).rdbuf();
  const std::string bytes = whole.str();
  EXPECT_FALSE(ReadBytes(bytes.substr(0, bytes.size() / 2)).ok());
  // Its program headers, among them where its libraries are named.
  unsigned seed = 1;
  for (int i = 0; i < 100; ++i) {
    std::string broken = bytes.substr(0, 4096);
    for (int change = 0; change < 8; ++change) broken[64 + rand_r(&seed) % 700] = static_cast<char>(rand_r(&seed));
    const std::string path = Write(broken);
    std::ofstream(path, std::ios::binary | std::ios::app) << bytes.substr(4096, 1 << 20);
    KernelLibraries(path).status().IgnoreError();
  }
}

TEST_F(KernelReaderTest, SymbolsHaveABuildId) {
  const auto symbols = [&](const std::string& content) {
    UniqueFd fd(open(Write(content).c_str(), O_RDONLY | O_CLOEXEC));
    return ReadSymbols(fd.get(), "file");
  };
  EXPECT_EQ(*symbols(Elf({{".note.gnu.build-id", BuildIdNote("abcd")}, {".symtab", "x"}})), "61626364");
  EXPECT_EQ(*symbols(Elf({{".debug_info", "x"}, {".notes", ""}, {".note.id", BuildIdNote("abcd")}})), "61626364");
  EXPECT_THAT(std::string(symbols(Elf({{".note.gnu.build-id", BuildIdNote("abcd")}})).status().message()),
              HasSubstr("it is stripped"));
  EXPECT_THAT(std::string(symbols(Elf({{".symtab", "x"}})).status().message()), HasSubstr("no build id"));
  EXPECT_EQ(GetErrorDetail(symbols("text").status()).reason, "NO_SYMBOLS");
}

}  // namespace
}  // namespace umld::kernel
