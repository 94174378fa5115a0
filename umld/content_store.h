#ifndef UMLD_UMLD_CONTENT_STORE_H_
#define UMLD_UMLD_CONTENT_STORE_H_

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace umld {

// Called now and then while something long goes on, with the bytes done; an error from it ends the work with that
// error.
using ByteProgress = std::function<absl::Status(uint64_t done, uint64_t total)>;

// A file that never changes, known by what is in it.
struct Content {
  std::string digest;  // "sha256:" and 64 hexadecimal digits; what sha256sum says of the file
  std::string path;    // absolute
  uint64_t size_bytes = 0;
  int64_t mtime_ns = 0;  // set once, when it came into the store
  friend bool operator==(const Content&, const Content&) = default;
};

// A file on its way into a store: hidden, writable, removed with this object unless it was kept.
class Draft {
 public:
  Draft() = default;
  Draft(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}
  Draft(Draft&& other) noexcept : path_(std::exchange(other.path_, "")), fd_(std::move(other.fd_)) {}
  Draft& operator=(Draft&& other) noexcept {
    Discard();
    path_ = std::exchange(other.path_, "");
    fd_ = std::move(other.fd_);
    return *this;
  }
  ~Draft() { Discard(); }

  int fd() const { return fd_.get(); }  // readable and writable
  const std::string& path() const { return path_; }

 private:
  friend class ContentStore;
  void Discard();

  std::string path_;
  UniqueFd fd_;
};

// Files in one folder, each named by the sha256 of its content and unwritable. The same content is kept once. Which of
// them are needed is for the caller to know. Thread-safe for different contents; blocks on the disk.
class ContentStore {
 public:
  // `folder`: absolute, made when it is first needed. `suffix` of its files: ".img".
  ContentStore(std::string folder, std::string suffix, mode_t mode)
      : folder_(std::move(folder)), suffix_(std::move(suffix)), mode_(mode) {}

  absl::StatusOr<Draft> Begin() const;
  // A folder for what comes before a draft; the caller removes it, or RemoveLeftovers does.
  absl::StatusOr<std::string> BeginFolder() const;
  // The draft is complete: syncs it, makes it unwritable, and reads what is in it. `path` in the result is where it
  // will be. kResourceExhausted and others from the host.
  absl::StatusOr<Content> Seal(const Draft& draft, const ByteProgress& progress) const;
  // Gives a sealed draft its final name, durably and at once. Content that is there already stays as it is, and the
  // draft goes; `mtime_ns` becomes that of the file that stays. Between this and the note that the content is needed,
  // nobody may remove contents: a lock of the caller's.
  absl::Status Place(Draft draft, Content* content) const;
  // Puts a sealed draft in the place of a file that no longer has that content, in one step and durably. It gets
  // `mtime_ns`, which COW files over it expect.
  absl::Status Replace(Draft draft, const std::string& path, int64_t mtime_ns) const;
  // What is in a file now. `path` in the result is the file's.
  static absl::StatusOr<Content> Read(const std::string& path, const ByteProgress& progress);
  // Not there: fine.
  absl::Status Remove(const std::string& path) const;
  // Removes drafts of a daemon that was killed, and contents (files with the store's kind of name) not in `needed`,
  // which has paths. Call before anything is begun.
  void RemoveLeftovers(const std::set<std::string>& needed) const;

  const std::string& folder() const { return folder_; }

 private:
  std::string folder_;
  std::string suffix_;
  mode_t mode_;
};

}  // namespace umld

#endif  // UMLD_UMLD_CONTENT_STORE_H_
