#include "umld/image_name.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/umid.h"

namespace umld {
namespace {

constexpr absl::string_view kDigestPrefix = "sha256:";
constexpr size_t kFewestDigits = 6, kAllDigits = 64;

absl::Status NotAName(absl::string_view text) {
  return MakeError(absl::StatusCode::kInvalidArgument,
                   absl::StrCat("\"", text.substr(0, 160), "\" is not an image's name"),
                   {"INVALID_NAME", std::string(text.substr(0, 160)),
                    "write NAME or NAME:TAG, each of 1 to 64 letters, digits, '-', '_' and '.'"});
}

absl::Status NoSuchImage(absl::string_view text) {
  return MakeError(
      absl::StatusCode::kNotFound, absl::StrCat("there is no image \"", text, "\""),
      {"IMAGE_NOT_FOUND", absl::StrCat("images/", text),
       text == "tiny" ? "`umlctl image build tiny` makes it" : "`umlctl image list` shows those there are"});
}

}  // namespace

bool IsDigest(absl::string_view text) {
  absl::ConsumePrefix(&text, "images/");
  return absl::StartsWith(text, kDigestPrefix);
}

absl::StatusOr<std::string> ParseImageName(absl::string_view text) {
  absl::ConsumePrefix(&text, "images/");
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  const auto [name, tag] = parts;
  const bool has_tag = name.size() != text.size();
  // What a digest begins with is nobody's name.
  if (name == "sha256" || !Umid::Parse(name).ok() || (has_tag && !Umid::Parse(tag).ok())) return NotAName(text);
  return has_tag && tag != "latest" ? std::string(text) : std::string(name);
}

absl::StatusOr<const state::ImageRow*> FindImage(const std::vector<state::ImageRow>& images, absl::string_view text) {
  absl::ConsumePrefix(&text, "images/");
  if (!IsDigest(text)) {
    ASSIGN_OR_RETURN(const std::string name, ParseImageName(text));
    for (const state::ImageRow& image : images) {
      if (std::find(image.names.begin(), image.names.end(), name) != image.names.end()) return &image;
    }
    return NoSuchImage(name);
  }
  const absl::string_view digits = absl::StripPrefix(text, kDigestPrefix);
  if (digits.size() < kFewestDigits || digits.size() > kAllDigits ||
      digits.find_first_not_of("0123456789abcdef") != absl::string_view::npos) {
    return MakeError(absl::StatusCode::kInvalidArgument,
                     absl::StrCat("\"", text.substr(0, 160), "\" is not the beginning of an image's digest"),
                     {"INVALID_NAME", std::string(text.substr(0, 160)),
                      "write sha256: and 6 to 64 hexadecimal digits in lower case"});
  }
  const state::ImageRow* found = nullptr;
  for (const state::ImageRow& image : images) {
    if (!absl::StartsWith(image.digest, text)) continue;
    if (found != nullptr) {
      return MakeError(absl::StatusCode::kInvalidArgument, absl::StrCat("several images begin with ", text),
                       {"AMBIGUOUS_DIGEST", absl::StrCat("images/", text), "give more digits"});
    }
    found = &image;
  }
  if (found == nullptr) return NoSuchImage(text);
  return found;
}

const state::ImageRow* ImageInFile(const std::vector<state::ImageRow>& images, absl::string_view path) {
  const auto found =
      std::find_if(images.begin(), images.end(), [path](const state::ImageRow& image) { return image.path == path; });
  return found == images.end() ? nullptr : &*found;
}

}  // namespace umld
