#ifndef UMLD_STATE_TEST_FOLDER_H_
#define UMLD_STATE_TEST_FOLDER_H_

#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace umld::state {

// A folder of this test alone, removed with all that is in it. For tests only.
class TestFolder {
 public:
  explicit TestFolder(const std::string& under = testing::TempDir()) {
    std::string pattern = std::filesystem::canonical(under).string() + "/stateXXXXXX";
    folder_ = ::mkdtemp(pattern.data()) == nullptr ? "" : pattern;
    EXPECT_NE(folder_, "");
  }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  ~TestFolder() {
    std::error_code ignored;
    if (!folder_.empty()) std::filesystem::remove_all(folder_, ignored);
  }

  const std::string& path() const { return folder_; }
  std::string File(const std::string& name) const { return folder_ + "/" + name; }
  std::set<std::string> Names() const {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) names.insert(entry.path().filename());
    return names;
  }

 private:
  std::string folder_;
};

inline std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline void WriteAll(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << bytes;
  ASSERT_TRUE(file.flush().good()) << path;
}

// Runs `body` in a forked child, so that it may change limits or user, or die without closing anything (_exit). Its
// result is the exit code.
inline int RunInChild(const std::function<int()>& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body());
  int status = 0;
  if (child < 0 || ::waitpid(child, &status, 0) != child) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace umld::state

#endif  // UMLD_STATE_TEST_FOLDER_H_
