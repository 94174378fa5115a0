#ifndef UMLD_TESTS_JSON_H_
#define UMLD_TESTS_JSON_H_

#include <stdexcept>

namespace umld::tests {

// A key that is missing is a failed test, and not the end of the program while its guests still run.
inline void RequireJson(bool holds, const char* what) {
  if (!holds) throw std::out_of_range(what);
}

}  // namespace umld::tests

#define JSON_ASSERT(condition) ::umld::tests::RequireJson(static_cast<bool>(condition), #condition)
#include <nlohmann/json.hpp>

namespace umld::tests {

using Json = nlohmann::json;

}  // namespace umld::tests

#endif  // UMLD_TESTS_JSON_H_
