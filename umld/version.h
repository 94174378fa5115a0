#ifndef UMLD_UMLD_VERSION_H_
#define UMLD_UMLD_VERSION_H_

namespace umld {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace umld

#endif  // UMLD_UMLD_VERSION_H_
