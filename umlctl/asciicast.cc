#include "umlctl/asciicast.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/byte_size.h"
#include "base/status.h"

namespace umld::umlctl {
namespace {

// A header and a frame of the largest size.
constexpr uint64_t kLeastLimit = 64 * 1024;
// Longer pieces become several events, so that one event never exceeds the limit.
constexpr size_t kMaxPiece = 4096;

std::string Quoted(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', /*ensure_ascii=*/false, nlohmann::json::error_handler_t::replace);
}

absl::Status WriteAll(int fd, const std::string& data, const std::string& path) {
  size_t done = 0;
  while (done < data.size()) {
    const ssize_t written = write(fd, data.data() + done, data.size() - done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoError(errno, absl::StrCat("write ", path));
    done += static_cast<size_t>(written);
  }
  return absl::OkStatus();
}

}  // namespace

size_t CutCharacter(absl::string_view bytes) {
  // Back to the last byte that begins a character, three bytes at most.
  for (size_t length = 1; length <= 3 && length <= bytes.size(); ++length) {
    const auto byte = static_cast<unsigned char>(bytes[bytes.size() - length]);
    if ((byte & 0xc0U) == 0x80U) continue;
    const size_t whole = byte >= 0xf0U ? 4 : byte >= 0xe0U ? 3 : byte >= 0xc0U ? 2 : 1;
    return whole > length ? length : 0;
  }
  return 0;
}

absl::StatusOr<Asciicast> Asciicast::Create(Options options, absl::Time now) {
  if (options.max_bytes != 0 && options.max_bytes < kLeastLimit) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("a limit of ", FormatByteSize(options.max_bytes), " is too small for a recording"),
                     {"BAD_LIMIT", "", absl::StrCat("give at least ", FormatByteSize(kLeastLimit))});
  }
  Asciicast cast(std::move(options));
  RETURN_IF_ERROR(cast.Begin(now));
  return cast;
}

absl::Status Asciicast::Begin(absl::Time now) {
  fd_.reset(open(options_.path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd_.ok() && errno == EEXIST) {
    return MakeError(absl::StatusCode::kAlreadyExists, absl::StrCat(options_.path, " is there already"),
                     {"FILE_EXISTS", "", "record to another file, or remove that one"});
  }
  if (!fd_.ok()) return ErrnoError(errno, options_.path);
  begin_ = now;
  const std::string header =
      absl::StrFormat("{\"version\": 2, \"width\": %d, \"height\": %d, \"timestamp\": %d, \"title\": %s}\n",
                      options_.columns, options_.rows, absl::ToUnixSeconds(now), Quoted(options_.title));
  size_ = header.size();
  return WriteAll(fd_.get(), header, options_.path);
}

absl::Status Asciicast::Rotate(absl::Time now) {
  fd_.reset();
  for (uint32_t number = options_.keep; number > 0; --number) {
    const std::string from = number == 1 ? options_.path : absl::StrCat(options_.path, ".", number - 1);
    const std::string to = absl::StrCat(options_.path, ".", number);
    if (rename(from.c_str(), to.c_str()) != 0 && errno != ENOENT) {
      return ErrnoError(errno, absl::StrCat("rename ", from, " to ", to));
    }
  }
  return Begin(now);
}

absl::Status Asciicast::Marker(absl::string_view text, absl::Time now) { return Write('m', std::string(text), now); }

absl::Status Asciicast::Add(char kind, absl::string_view bytes, std::string* cut, absl::Time now) {
  std::string text = absl::StrCat(std::exchange(*cut, ""), bytes);
  const size_t kept = CutCharacter(text);
  *cut = text.substr(text.size() - kept);
  text.resize(text.size() - kept);
  while (!text.empty()) {
    size_t piece = text.size();
    if (piece > kMaxPiece) piece = kMaxPiece - CutCharacter(absl::string_view(text).substr(0, kMaxPiece));
    RETURN_IF_ERROR(Write(kind, text.substr(0, piece), now));
    text.erase(0, piece);
  }
  return absl::OkStatus();
}

absl::Status Asciicast::Write(char kind, const std::string& text, absl::Time now) {
  if (full_) return absl::OkStatus();
  auto line = [&] {
    return absl::StrFormat("[%.6f, \"%c\", %s]\n", absl::ToDoubleSeconds(now - begin_), kind, Quoted(text));
  };
  std::string event = line();
  if (options_.max_bytes != 0 && size_ + event.size() > options_.max_bytes) {
    if (options_.keep == 0) {
      full_ = true;
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(Rotate(now));
    event = line();  // its time counts from the file's own beginning
  }
  size_ += event.size();
  return WriteAll(fd_.get(), event, options_.path);
}

}  // namespace umld::umlctl
