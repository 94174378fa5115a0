#include "devices/disk/disk_spec.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "devices/spec_text.h"

namespace umld::devices {
namespace {

constexpr absl::string_view kFlags = "rscdt";
constexpr absl::string_view kPrefix = "ubd";
constexpr size_t kMaxSerial = 128;

using Fault = SpecFault;

constexpr char kSpellingHint[] = "write ubdb=FILE, ubdb=COW,BACKING or ubdbr=FILE (flags: r s c d t)";

absl::Status Invalid(absl::string_view text, absl::string_view reason, absl::string_view hint) {
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat(ShowSpec(text), " is not a disk UML can use: ", reason),
                   {"INVALID_DISK_SPEC", "", std::string(hint)});
}

absl::Status InvalidAt(absl::string_view text, const Fault& fault) {
  return Invalid(text, absl::StrCat("at position ", fault.offset + 1, ", ", fault.reason), fault.hint);
}

std::optional<Fault> FindFaultInSerial(absl::string_view serial) {
  if (serial.size() > kMaxSerial) {
    return Fault{kMaxSerial, absl::StrCat("the serial number is longer than ", kMaxSerial, " characters"),
                 "shorten it"};
  }
  for (size_t i = 0; i < serial.size(); ++i) {
    if (!absl::ascii_isgraph(serial[i])) {
      return Fault{i, "the serial number contains something else than a visible ASCII character",
                   "use letters, digits, '-' and '_'"};
    }
  }
  return FindBadByte(serial, "serial number");
}

std::optional<Fault> FindFaultInFlags(absl::string_view flags) {
  for (size_t i = 0; i < flags.size(); ++i) {
    if (kFlags.find(flags[i]) == absl::string_view::npos) {
      return Fault{i, absl::StrCat("'", absl::CHexEscape(flags.substr(i, 1)), "' is not a flag"),
                   "flags are r (read-only), s (synchronous), c (shared), d (data, no COW), t (no trim)"};
    }
    if (flags.find(flags[i]) < i) {
      return Fault{i, absl::StrCat("flag '", flags.substr(i, 1), "' is given twice"), "give each flag once"};
    }
  }
  return std::nullopt;
}

std::string InKernelsOrder(absl::string_view flags) {
  std::string ordered;
  for (char flag : kFlags) {
    if (flags.find(flag) != absl::string_view::npos) ordered += flag;
  }
  return ordered;
}

// The rules about a spec as a whole. `text` is what the error shows.
absl::Status CheckWhole(const DiskSpec& spec, absl::string_view text) {
  if (!spec.backing.empty() && spec.flags.find('d') != std::string::npos) {
    return Invalid(text, "flag d (data, no COW) and a backing file exclude each other", "leave out one of them");
  }
  if (!spec.backing.empty() && spec.backing == spec.path) {
    return Invalid(text, "the COW file and its backing file are the same", "name a new file for the COW");
  }
  return absl::OkStatus();
}

// The device at the start of `text`; `end` is set to what follows it.
std::optional<Fault> ReadDevice(absl::string_view text, uint32_t* unit, size_t* end) {
  constexpr char kDevices[] = "this kernel has ubda to ubdp (or ubd0 to ubd15)";
  if (!absl::StartsWith(text, kPrefix)) return Fault{0, "a disk's name begins with \"ubd\"", kDevices};
  size_t begin = kPrefix.size();
  size_t at = begin;
  while (at < text.size() && absl::ascii_isdigit(text[at])) ++at;
  absl::string_view digits = text.substr(begin, at - begin);
  if (!digits.empty()) {
    // The kernel would read 010 as octal.
    bool leading_zero = digits.size() > 1 && digits[0] == '0';
    if (leading_zero || !absl::SimpleAtoi(digits, unit) || *unit >= kMaxDisks) {
      return Fault{begin, absl::StrCat("there is no disk ubd", digits.substr(0, 20)), kDevices};
    }
    *end = at;
    return std::nullopt;
  }
  if (begin >= text.size()) return Fault{begin, "the letter of the disk is missing", kDevices};
  char letter = text[begin];
  if (letter < 'a' || letter >= static_cast<char>('a' + kMaxDisks)) {
    return Fault{begin, absl::StrCat("there is no disk ubd", absl::CHexEscape(text.substr(begin, 1))), kDevices};
  }
  *unit = static_cast<uint32_t>(letter - 'a');
  *end = begin + 1;
  return std::nullopt;
}

// One of the parts between the kernel's separators, with where it begins in the whole text.
struct Part {
  size_t offset;
  absl::string_view text;
};

std::vector<Part> SplitAsKernel(absl::string_view text, size_t begin) {
  std::vector<Part> parts;
  while (true) {
    size_t end = text.find_first_of(",:", begin);
    if (end == absl::string_view::npos) break;
    parts.push_back({begin, text.substr(begin, end - begin)});
    begin = end + 1;
  }
  parts.push_back({begin, text.substr(begin)});
  return parts;
}

std::optional<Fault> ReadFiles(const std::vector<Part>& parts, DiskSpec* spec) {
  auto moved = [](std::optional<Fault> fault, size_t by) {
    if (fault) fault->offset += by;
    return fault;
  };
  if (parts.size() > 3) {
    return Fault{parts[3].offset, "there is something after path, backing file and serial number", kSeparatorHint};
  }
  const Part& path = parts[0];
  if (auto fault = FindFaultInPath(path.text, "path", kSpellingHint)) return moved(fault, path.offset);
  spec->path = std::string(path.text);
  bool has_serial = parts.size() == 3;
  if (parts.size() >= 2 && !(has_serial && parts[1].text.empty())) {
    if (auto fault = FindFaultInPath(parts[1].text, "backing file's path", kSpellingHint))
      return moved(fault, parts[1].offset);
    spec->backing = std::string(parts[1].text);
  }
  if (has_serial) {
    if (parts[2].text.empty()) return Fault{parts[2].offset, "the serial number is empty", "leave out the last ','"};
    if (auto fault = FindFaultInSerial(parts[2].text)) return moved(fault, parts[2].offset);
    spec->serial = std::string(parts[2].text);
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<DiskSpec> ParseDiskSpec(absl::string_view text) {
  DiskSpec spec;
  size_t flags_begin = 0;
  if (auto fault = ReadDevice(text, &spec.unit, &flags_begin)) return InvalidAt(text, *fault);
  size_t equals = text.find('=', flags_begin);
  absl::string_view flags = text.substr(flags_begin, equals - flags_begin);
  if (auto fault = FindFaultInFlags(flags)) {
    fault->offset += flags_begin;
    return InvalidAt(text, *fault);
  }
  if (equals == absl::string_view::npos)
    return InvalidAt(text, {text.size(), "'=' and a path are missing", kSpellingHint});
  spec.flags = InKernelsOrder(flags);
  if (auto fault = ReadFiles(SplitAsKernel(text, equals + 1), &spec)) return InvalidAt(text, *fault);
  RETURN_IF_ERROR(CheckWhole(spec, text));
  return spec;
}

absl::Status CheckDiskSpec(const DiskSpec& spec) {
  if (spec.unit >= kMaxDisks) {
    return Invalid(absl::StrCat(kPrefix, spec.unit), "there is no such disk", "this kernel has ubda to ubdp");
  }
  if (auto fault = FindFaultInFlags(spec.flags)) return InvalidAt(spec.flags, *fault);
  if (auto fault = FindFaultInPath(spec.path, "path", kSpellingHint)) return InvalidAt(spec.path, *fault);
  if (!spec.backing.empty()) {
    if (auto fault = FindFaultInPath(spec.backing, "backing file's path", kSpellingHint))
      return InvalidAt(spec.backing, *fault);
  }
  if (auto fault = FindFaultInSerial(spec.serial)) return InvalidAt(spec.serial, *fault);
  return CheckWhole(spec, PrintDiskSpec(spec));
}

absl::StatusOr<uint32_t> ParseDiskName(absl::string_view text) {
  uint32_t unit = 0;
  size_t end = 0;
  if (auto fault = ReadDevice(text, &unit, &end)) return InvalidAt(text, *fault);
  if (end != text.size()) {
    return InvalidAt(text, {end, "there is something after the disk's name", "write ubdb or ubd1 alone"});
  }
  return unit;
}

std::string DiskName(uint32_t unit) { return absl::StrCat(kPrefix, std::string(1, static_cast<char>('a' + unit))); }

std::string PrintDiskSpec(const DiskSpec& spec) {
  std::string text = absl::StrCat(DiskName(spec.unit), InKernelsOrder(spec.flags), "=", PrintDiskValue(spec));
  if (!spec.serial.empty()) absl::StrAppend(&text, spec.backing.empty() ? ",," : ",", spec.serial);
  return text;
}

std::string PrintDiskBootArgument(const DiskSpec& spec) {
  std::string text = PrintDiskSpec(spec);
  // To the kernel 0xa0 is a space too, and it occurs inside UTF-8 characters ("à").
  bool quote = false;
  for (char c : text) quote = quote || !absl::ascii_isgraph(c);
  if (!quote) return text;
  size_t value = text.find('=') + 1;
  return absl::StrCat(text.substr(0, value), "\"", text.substr(value), "\"");
}

std::string PrintDiskValue(const DiskSpec& spec) {
  return spec.backing.empty() ? spec.path : absl::StrCat(spec.path, ",", spec.backing);
}

}  // namespace umld::devices
