#ifndef UMLD_UMLD_IMAGE_NAME_H_
#define UMLD_UMLD_IMAGE_NAME_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "state/rows.h"

namespace umld {

// "debian:bookworm", or "debian" for its tag "latest", from that with or without "images/". Name and tag are 1 to 64 of
// letters, digits, '-', '_' and '.'. kInvalidArgument. Pure.
absl::StatusOr<std::string> ParseImageName(absl::string_view text);

// The image that a name, or the beginning of a digest ("sha256:1a2b3c", at least 6 digits), leads to. Points into
// `images`. kNotFound; kInvalidArgument: neither, or AMBIGUOUS_DIGEST. Pure.
absl::StatusOr<const state::ImageRow*> FindImage(const std::vector<state::ImageRow>& images, absl::string_view text);
// The image whose file this is, by its path; nullptr: none.
const state::ImageRow* ImageInFile(const std::vector<state::ImageRow>& images, absl::string_view path);

// Whether it was a digest that was given, not a name.
bool IsDigest(absl::string_view text);

}  // namespace umld

#endif  // UMLD_UMLD_IMAGE_NAME_H_
