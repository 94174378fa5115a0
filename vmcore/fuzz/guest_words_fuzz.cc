// libFuzzer: whatever is heard from a kernel that waits for its guest (claim_line), and whatever files of /proc a
// guest's kernel shows through its mconsole. The first byte says in what pieces the former comes.
// Links with base/byte_size.cc base/event_loop.cc base/file.cc base/status.cc base/utf8.cc devices/spec_text.cc
// Links with devices/memory/memory_spec.cc vmcore/balloon.cc vmcore/claim_line.cc vmcore/exit_reason.cc
// Links with vmcore/jail_controls.cc vmcore/kernel_boot.cc vmcore/mconsole_client.cc vmcore/mconsole_wire.cc
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/event_loop.h"
#include "base/status.h"
#include "vmcore/balloon.h"
#include "vmcore/claim_line.h"
#include "vmcore/kernel_boot.h"

namespace {

using namespace umld::vmcore;  // NOLINT: all of it is under test

constexpr size_t kMostPieces = 64, kLongestPiece = 512;

void Require(bool holds) {
  if (!holds) std::abort();
}

// What is at hand, and no more.
void RunOnce(umld::EventLoop* loop) {
  loop->Quit();
  loop->Run();
}

void CheckDecision(const absl::Status& status, absl::string_view said) {
  if (status.ok()) return Require(absl::StrContains(said, "ready"));
  Require(umld::GetErrorDetail(status).reason == "CLAIM_FAILED" && status.message().size() <= 400);
  for (unsigned char c : status.message()) Require(absl::ascii_isprint(c));
}

void CheckClaim(absl::string_view all, size_t piece) {
  static const std::unique_ptr<umld::EventLoop> loop = *umld::EventLoop::Create();
  std::unique_ptr<ClaimLine> line;
  int waiting = 0, decided = 0;
  ClaimLine::Callbacks callbacks;
  callbacks.waiting = [&] {
    ++waiting;
    Require(line->Claim("root=/dev/ubda rw").ok());
  };
  callbacks.decided = [&](const absl::Status& status) {
    ++decided;
    CheckDecision(status, all);
    if (piece % 2 == 0) line.reset();
  };
  line = *ClaimLine::Create(loop.get(), std::move(callbacks));
  for (size_t at = 0; line != nullptr && at < std::min(all.size(), kMostPieces * piece); at += piece) {
    const absl::string_view said = all.substr(at, piece);
    Require(write(line->kernel_end(), said.data(), said.size()) == static_cast<ssize_t>(said.size()));
    RunOnce(loop.get());
  }
  if (line != nullptr) {
    line->CloseKernelEnd();
    RunOnce(loop.get());
  }
  Require(waiting <= 1 && decided <= 1);
}

void CheckProc(absl::string_view text) {
  for (absl::string_view name : {"MemTotal", "MemFree", "MemAvailable"}) {
    Require(MeminfoBytes(text, name) % 1024 == 0);
    Require(MeminfoBytes(absl::StrCat("\n", name, ":   12 kB\n", text), name) == 12 * 1024);
  }
  Require(ShowsMounts(absl::StrCat("rootfs / rootfs rw 0 0\n", text)) == ShowsMounts(text));
  Require(ShowsOpenConsole(absl::StrCat(text, "\n 3: 1 SIGIO console, console-write\n")));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const absl::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  CheckClaim(bytes, data[0] == 0 ? kLongestPiece : data[0]);
  CheckProc(bytes);
  return 0;
}
