// libFuzzer: whatever a file says that is to be imported as a kernel, or as its symbols: an answer, and text of it that
// is printable and bounded.
// Links with base/status.cc base/utf8.cc kernel/elf_file.cc kernel/kernel_features.cc kernel/kernel_reader.cc
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "base/unique_fd.h"
#include "kernel/elf_file.h"
#include "kernel/kernel_features.h"
#include "kernel/kernel_reader.h"

namespace {

bool IsPlain(const std::string& text, size_t most) {
  return text.size() <= most &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return absl::ascii_isprint(c); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const umld::UniqueFd fd(memfd_create("kernel", MFD_CLOEXEC));
  if (ftruncate(fd.get(), 0) != 0 || pwrite(fd.get(), data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  const auto text = umld::kernel::ReadKernel(fd.get(), "file");
  if (text.ok()) {
    bool good = IsPlain(text->version, 64) && IsPlain(text->banner, 512) && IsPlain(text->build_id, 128) &&
                text->version.find('/') == std::string::npos && text->config.size() <= 20'000;
    for (const std::string& line : text->config) good = good && IsPlain(line, 4096);
    if (!good) std::abort();
    umld::kernel::WarningsOf(*text, umld::kernel::FeaturesOf(*text));
  }
  const auto symbols = umld::kernel::ReadSymbols(fd.get(), "file");
  if (symbols.ok() && !IsPlain(*symbols, 128)) std::abort();
  const auto file = umld::kernel::ElfFile::Read(fd.get());
  if (!file.ok()) return 0;
  const auto needed = file->Needed();
  if (needed.ok() && std::any_of(needed->begin(), needed->end(), [](const std::string& name) {
        return name.empty() || name.size() > 255 || name.find('/') != std::string::npos;
      })) {
    std::abort();
  }
  file->Interpreter().status().IgnoreError();
  return 0;
}
