#include "kernel/kernel_reader.h"

#include <elf.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "kernel/elf_file.h"

namespace umld::kernel {
namespace {

constexpr size_t kChunk = 1 << 20;
// Strings that are longer are none of ours.
constexpr size_t kMaxString = 4096;
constexpr uint64_t kMaxFile = uint64_t{4} << 30;
// Debian's kernel has 3,500 lines in 120 KB.
constexpr size_t kMaxLines = 20'000;
constexpr size_t kMaxConfigBytes = 2 << 20;
constexpr size_t kMaxVersion = 64;
constexpr size_t kMaxBanner = 512;

absl::Status NotAKernel(const std::string& name, absl::string_view why) {
  return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat(name, " is not a UML kernel: ", why),
                   {"NOT_A_UML_KERNEL", name, "name a kernel that was built with ARCH=um, such as /usr/bin/linux.uml"});
}

bool IsPrintable(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](unsigned char c) { return absl::ascii_isprint(c); });
}

// Calls `take` with every string that lies between two NULs, up to kMaxString long. False: the file cannot be read.
bool ForEachString(int fd, const std::function<bool(absl::string_view)>& take) {
  std::string buffer;
  bool skipping = false;  // in the middle of one that is too long
  std::string chunk(kChunk, '\0');
  for (uint64_t offset = 0;;) {
    const ssize_t n = pread(fd, chunk.data(), chunk.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 || offset > kMaxFile) return false;
    if (n == 0) return true;
    offset += static_cast<uint64_t>(n);
    absl::string_view rest(chunk.data(), static_cast<size_t>(n));
    while (true) {
      const size_t end = rest.find('\0');
      const absl::string_view piece = rest.substr(0, end);
      skipping = skipping || buffer.size() + piece.size() > kMaxString;
      if (end == absl::string_view::npos) {
        if (skipping) {
          buffer.clear();
        } else {
          buffer.append(piece.data(), piece.size());
        }
        break;
      }
      if (!skipping && !piece.empty() && buffer.empty() && !take(piece)) return true;
      if (!skipping && !buffer.empty() && !take(absl::StrCat(buffer, piece))) return true;
      buffer.clear();
      skipping = false;
      rest.remove_prefix(end + 1);
    }
  }
}

bool IsSymbol(absl::string_view name) {
  return !name.empty() &&
         std::all_of(name.begin(), name.end(), [](unsigned char c) { return absl::ascii_isalnum(c) || c == '_'; });
}

bool IsValue(absl::string_view value) {
  int64_t number = 0;
  if (value == "y" || value == "m" || value == "n" || absl::SimpleAtoi(value, &number)) return true;
  if (absl::ConsumePrefix(&value, "0x")) {
    return !value.empty() &&
           std::all_of(value.begin(), value.end(), [](unsigned char c) { return absl::ascii_isxdigit(c); });
  }
  return value.size() >= 2 && value.front() == '"' && value.back() == '"' && IsPrintable(value);
}

// "CONFIG_SMP=y", "# CONFIG_SMP is not set".
bool IsConfigLine(absl::string_view line) {
  if (absl::ConsumePrefix(&line, "# CONFIG_")) return absl::ConsumeSuffix(&line, " is not set") && IsSymbol(line);
  if (!absl::ConsumePrefix(&line, "CONFIG_")) return false;
  const size_t equals = line.find('=');
  return equals != absl::string_view::npos && IsSymbol(line.substr(0, equals)) && IsValue(line.substr(equals + 1));
}

// The version in "Linux version 6.1.176 (...) ..."; empty: it is no banner. It becomes the name of a folder.
std::string VersionIn(absl::string_view banner) {
  if (!absl::ConsumePrefix(&banner, "Linux version ") || banner.empty() || !absl::ascii_isdigit(banner[0])) return "";
  const absl::string_view version = banner.substr(0, banner.find(' '));
  const bool plain = std::all_of(version.begin(), version.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '.' || c == '-' || c == '+' || c == '_' || c == '~';
  });
  return plain && version.size() <= kMaxVersion && version.size() < banner.size() ? std::string(version) : "";
}

struct Collector {
  KernelText text;
  size_t bytes = 0;
  bool too_much = false;

  bool Take(absl::string_view string) {
    if (absl::StartsWith(string, "seccomp=<on/auto/off>\n")) text.has_seccomp_mode = true;
    if (!absl::ConsumeSuffix(&string, "\n")) return true;
    if (IsConfigLine(string)) {
      bytes += string.size();
      too_much = text.config.size() == kMaxLines || bytes > kMaxConfigBytes;
      if (!too_much) text.config.emplace_back(string);
    } else if (string.size() > text.banner.size() && string.size() <= kMaxBanner && IsPrintable(string)) {
      // A kernel has two, of which the shorter lacks the time of its build.
      if (std::string version = VersionIn(string); !version.empty()) {
        text.version = std::move(version);
        text.banner = std::string(string);
      }
    }
    return !too_much;
  }
};

}  // namespace

absl::StatusOr<KernelText> ReadKernel(int fd, const std::string& name) {
  const absl::StatusOr<ElfFile> file = ElfFile::Read(fd);
  if (!file.ok()) return NotAKernel(name, file.status().message());
  if (!file->HasSection(".uml.setup.init")) return NotAKernel(name, "the section .uml.setup.init is missing");
  const absl::StatusOr<std::string> build_id = file->BuildId();
  if (!build_id.ok()) return NotAKernel(name, build_id.status().message());
  Collector collector;
  if (!ForEachString(fd, [&](absl::string_view string) { return collector.Take(string); })) {
    return NotAKernel(name, "it cannot be read to its end, or has none");
  }
  if (collector.too_much) return NotAKernel(name, "its configuration has no end");
  collector.text.build_id = *build_id;
  return std::move(collector.text);
}

absl::StatusOr<std::string> ReadSymbols(int fd, const std::string& name) {
  const auto no_symbols = [&](absl::string_view why) {
    return MakeError(
        absl::StatusCode::kInvalidArgument, absl::StrCat(name, " has no symbols for a kernel: ", why),
        {"NO_SYMBOLS", name, "give the kernel before it was stripped, or what objcopy --only-keep-debug made of it"});
  };
  const absl::StatusOr<ElfFile> file = ElfFile::Read(fd);
  if (!file.ok()) return no_symbols(file.status().message());
  const auto has_symbols = [](const ElfFile::Section& section) {
    return section.size > 0 && section.type != SHT_NOBITS &&
           (section.type == SHT_SYMTAB || absl::StartsWith(section.name, ".debug_info") ||
            absl::StartsWith(section.name, ".zdebug_info"));
  };
  if (std::none_of(file->sections().begin(), file->sections().end(), has_symbols)) {
    return no_symbols("it is stripped");
  }
  const absl::StatusOr<std::string> build_id = file->BuildId();
  if (!build_id.ok()) return no_symbols(build_id.status().message());
  if (build_id->empty()) return no_symbols("it has no build id");
  return *build_id;
}

}  // namespace umld::kernel
