#ifndef UMLD_BASE_BYTE_SIZE_H_
#define UMLD_BASE_BYTE_SIZE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace umld {

// "256M" to bytes. Units K, M, G, T (powers of 1024, either case, "KiB" and "KB" too); a bare number is bytes; a
// fraction ("1.5G") is allowed with a unit. kInvalidArgument: anything else, negative, or over 2^63 - 1.
absl::StatusOr<uint64_t> ParseByteSize(absl::string_view text);

// The shortest exact spelling that ParseByteSize reads back: "256M", "1G", "1000".
std::string FormatByteSize(uint64_t bytes);

// Rounded for people: "1.5 GiB", "12 KiB".
std::string HumanByteSize(uint64_t bytes);

}  // namespace umld

#endif  // UMLD_BASE_BYTE_SIZE_H_
