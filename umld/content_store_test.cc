#include "umld/content_store.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

constexpr char kHello[] = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

class ContentStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    char folder[] = "/tmp/content_store_test.XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    root_ = folder;
    store_ = std::make_unique<ContentStore>(root_ + "/store", ".img", 0400);
  }
  void TearDown() override { EXPECT_TRUE(RemoveFolder(root_).ok()); }

  absl::StatusOr<Content> Keep(const std::string& text) {
    ASSIGN_OR_RETURN(Draft draft, store_->Begin());
    EXPECT_EQ(write(draft.fd(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
    ASSIGN_OR_RETURN(Content content, store_->Seal(draft, nullptr));
    RETURN_IF_ERROR(store_->Place(std::move(draft), &content));
    return content;
  }
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(root_ + "/store")) {
      names.push_back(entry.path().filename());
    }
    return names;
  }

  std::string root_;
  std::unique_ptr<ContentStore> store_;
};

TEST_F(ContentStoreTest, KeepsByContent) {
  const auto content = Keep("hello");
  ASSERT_TRUE(content.ok()) << content.status();
  EXPECT_EQ(content->digest, kHello);
  EXPECT_EQ(content->path, absl::StrCat(root_, "/store/", std::string(kHello).substr(7), ".img"));
  EXPECT_EQ(content->size_bytes, 5u);
  struct stat info = {};
  ASSERT_EQ(stat(content->path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0400u);
  EXPECT_EQ(Names().size(), 1u);
}

TEST_F(ContentStoreTest, TheSameContentKeepsItsFileAndTime) {
  const auto first = Keep("hello");
  ASSERT_TRUE(first.ok());
  const timespec old[2] = {{1000, 0}, {1000, 0}};
  ASSERT_EQ(utimensat(AT_FDCWD, first->path.c_str(), old, 0), 0);
  const auto again = Keep("hello");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->path, first->path);
  EXPECT_EQ(again->mtime_ns, int64_t{1000} * 1000000000);
  EXPECT_EQ(Names().size(), 1u) << "a draft stayed";
}

TEST_F(ContentStoreTest, HolesCountAsZeros) {
  auto draft = store_->Begin();
  ASSERT_TRUE(draft.ok());
  constexpr off_t kSize = 5 << 20;
  ASSERT_EQ(ftruncate(draft->fd(), kSize), 0);
  ASSERT_EQ(pwrite(draft->fd(), "x", 1, 3 << 20), 1);
  std::string plain(kSize, '\0');
  plain[3 << 20] = 'x';
  const auto sparse = store_->Seal(*draft, nullptr);
  ASSERT_TRUE(sparse.ok());
  const auto full = Keep(plain);
  ASSERT_TRUE(full.ok());
  EXPECT_EQ(sparse->digest, full->digest);
}

TEST_F(ContentStoreTest, AnErrorOfTheProgressEndsItAndLeavesNothing) {
  {
    auto draft = store_->Begin();
    ASSERT_TRUE(draft.ok());
    ASSERT_EQ(write(draft->fd(), "x", 1), 1);
    const auto sealed = store_->Seal(*draft, [](uint64_t, uint64_t) { return absl::CancelledError("enough"); });
    EXPECT_EQ(sealed.status().code(), absl::StatusCode::kCancelled);
  }
  EXPECT_TRUE(Names().empty());
}

TEST_F(ContentStoreTest, LeftoversGoAndNothingElse) {
  const auto needed = Keep("hello");
  const auto not_needed = Keep("world");
  ASSERT_TRUE(needed.ok() && not_needed.ok());
  for (const char* name : {"/store/.new-abcdef", "/store/tiny.img", "/store/notes.txt"}) {
    ASSERT_TRUE(WriteFileDurably(root_ + name, "x", 0600).ok());
  }
  store_->RemoveLeftovers({needed->path});
  auto names = Names();
  std::sort(names.begin(), names.end());
  EXPECT_EQ(names,
            (std::vector<std::string>{needed->path.substr(needed->path.rfind('/') + 1), "notes.txt", "tiny.img"}));
}

}  // namespace
}  // namespace umld
