#ifndef UMLD_BASE_CALL_WARNINGS_H_
#define UMLD_BASE_CALL_WARNINGS_H_

namespace umld {

// Under this name umld sends, beside the answer to a call (gRPC's trailing metadata), what the caller should be told: a
// line of printable ASCII each.
inline constexpr char kWarningMetadata[] = "umld-warning";

}  // namespace umld

#endif  // UMLD_BASE_CALL_WARNINGS_H_
