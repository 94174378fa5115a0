#include "image/tree.h"

#include <sys/stat.h>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gtest/gtest.h"

namespace umld::image {
namespace {

Entry File(const std::string& path) {
  Entry entry;
  entry.path = path;
  entry.mode = S_IFREG | 0644;
  return entry;
}
Entry Folder(const std::string& path, mode_t mode = 0755) {
  Entry entry;
  entry.path = path;
  entry.mode = S_IFDIR | mode;
  return entry;
}
Entry Link(const std::string& path, const std::string& target) {
  Entry entry;
  entry.path = path;
  entry.mode = S_IFLNK | 0777;
  entry.target = target;
  return entry;
}
Entry HardLink(const std::string& path, const std::string& to) {
  Entry entry = File(path);
  entry.hard_link = to;
  return entry;
}

class TreeTest : public testing::Test {
 protected:
  std::string Refusal(const Entry& entry, int layer = 0) {
    const auto added = tree_.Add(layer, layered_, entry);
    if (added.ok()) return "none";
    EXPECT_EQ(added.status().code(), absl::StatusCode::kInvalidArgument) << added.status();
    EXPECT_FALSE(GetErrorDetail(added.status()).hint.empty()) << added.status();
    return GetErrorDetail(added.status()).reason;
  }
  void Add(const Entry& entry, int layer = 0) {
    const auto added = tree_.Add(layer, layered_, entry);
    EXPECT_TRUE(added.ok()) << entry.path << ": " << added.status();
  }
  // "/etc /etc/passwd", in order; a symbolic link with its target.
  std::string All() {
    std::string text;
    List(*tree_.root(), "", &text);
    return text;
  }
  static void List(const Node& folder, const std::string& path, std::string* text) {
    for (const auto& [name, child] : folder.children) {
      absl::StrAppend(text, text->empty() ? "" : " ", path, "/", name);
      if (S_ISLNK(child->mode)) absl::StrAppend(text, ">", child->target);
      List(*child, path + "/" + name, text);
    }
  }

  Tree tree_;
  bool layered_ = false;
};

TEST_F(TreeTest, PathsAreOfTheTreeWhateverTheyBeginWith) {
  Add(Folder("./"));
  Add(File("/etc/passwd"));
  Add(File("./etc//shadow"));
  Add(File("etc/./hosts"));
  EXPECT_EQ(All(), "/etc /etc/hosts /etc/passwd /etc/shadow");
}

TEST_F(TreeTest, NothingClimbs) {
  for (const char* path : {"..", "../x", "a/../../x", "/../etc/passwd", "a/.."}) {
    EXPECT_EQ(Refusal(File(path)), "BAD_ENTRY") << path;
  }
  EXPECT_EQ(Refusal(HardLink("x", "../../etc/shadow")), "BAD_ENTRY");
  EXPECT_EQ(Refusal(HardLink("x", "/etc/shadow")), "BAD_ENTRY") << "of the host, not of the tree";
  EXPECT_EQ(All(), "");
}

TEST_F(TreeTest, LinksAreFollowedInsideTheTree) {
  Add(Folder("usr/lib"));
  Add(Link("lib", "usr/lib"));
  Add(Link("usr/lib64", "../../../../usr/lib"));
  Add(Link("abs", "/usr/lib"));
  Add(File("lib/a"));
  Add(File("usr/lib64/b"));
  Add(File("abs/c"));
  EXPECT_EQ(All(),
            "/abs>/usr/lib /lib>usr/lib /usr /usr/lib /usr/lib/a /usr/lib/b /usr/lib/c "
            "/usr/lib64>../../../../usr/lib");
}

TEST_F(TreeTest, LinksToEachOtherEnd) {
  Add(Link("a", "b"));
  Add(Link("b", "a"));
  EXPECT_EQ(Refusal(File("a/x")), "BAD_ENTRY");
  // Each doubles the way of the one before.
  Add(Link("l0", "."));
  for (int i = 1; i < 30; ++i) Add(Link(absl::StrCat("l", i), absl::StrCat("l", i - 1, "/l", i - 1)));
  EXPECT_EQ(Refusal(File("l29/x")), "BAD_ENTRY");
}

TEST_F(TreeTest, NamesAndPathsHaveTheirLengths) {
  Add(File(std::string(255, 'n')));
  EXPECT_EQ(Refusal(File(std::string(256, 'n'))), "BAD_ENTRY");
  EXPECT_EQ(Refusal(Folder("a/" + std::string(256, 'n') + "/b")), "BAD_ENTRY");
  std::string deep;
  while (deep.size() <= 4096) deep += "d/";
  EXPECT_EQ(Refusal(File(deep + "x")), "BAD_ENTRY");
  EXPECT_EQ(Refusal(Link("l", std::string(4096, 'x'))), "BAD_ENTRY");
  EXPECT_EQ(Refusal(Link("l", "")), "BAD_ENTRY");
}

// Each link leads as far down again as a path can.
TEST_F(TreeTest, LinksLeadNoDeeperThanAPath) {
  std::string deep, above;
  while (deep.size() < 4000) deep += "d/";
  std::string reason = "none";
  for (int i = 0; i < 30 && reason == "none"; ++i) {
    reason = Refusal(Folder(above + deep));
    const std::string link = absl::StrCat("l", i);
    Add(Link(link, above + deep.substr(0, 4000)));
    above = link + "/";
  }
  EXPECT_EQ(reason, "BAD_ENTRY");
  size_t depth = 0;
  for (const Node* at = tree_.root().get(); at->children.count("d") != 0; ++depth) {
    at = at->children.find("d")->second.get();
  }
  EXPECT_EQ(depth, 2048U);
}

TEST_F(TreeTest, LaterEntriesReplaceEarlierOnes) {
  Add(Folder("a", 0700));
  Add(File("a/x"));
  Add(Folder("a", 0755));
  EXPECT_EQ(All(), "/a /a/x") << "a folder keeps what is in it";
  EXPECT_EQ(tree_.root()->children["a"]->mode & 07777, 0755u);
  Add(File("a"));
  EXPECT_EQ(All(), "/a");
  EXPECT_EQ(Refusal(File("a/x")), "BAD_ENTRY") << "below a file";
  Add(Folder("a"));
  Add(File("a/y"));
  EXPECT_EQ(All(), "/a /a/y");
}

TEST_F(TreeTest, HardLinksShareAFile) {
  Add(File("a"));
  Add(HardLink("b", "./a"));
  Add(HardLink("d/c", "/b"));
  EXPECT_EQ(tree_.root()->children["a"], tree_.root()->children["d"]->children["c"]);
  EXPECT_EQ(Refusal(HardLink("e", "nothing")), "BAD_ENTRY");
  EXPECT_EQ(Refusal(HardLink("e", "d")), "BAD_ENTRY");
  EXPECT_EQ(Refusal(HardLink("e", "d/c/f")), "BAD_ENTRY");
  EXPECT_EQ(Refusal(HardLink("/", "a")), "BAD_ENTRY");
}

TEST_F(TreeTest, OddKinds) {
  Entry odd = File("x");
  odd.mode = 0644;
  EXPECT_EQ(Refusal(odd), "BAD_ENTRY");
  EXPECT_EQ(Refusal(File("/")), "BAD_ENTRY");
  Entry huge = File("x");
  huge.size = uint64_t{1} << 62;
  EXPECT_EQ(Refusal(huge), "BAD_ENTRY");
}

TEST_F(TreeTest, MoreThanAnybodyHas) {
  Entry fat = File("x");
  fat.xattrs.emplace_back("user.x", std::string(64 << 20, 'x'));
  std::string reason = "none";
  for (int i = 0; i < 20 && reason == "none"; ++i) reason = Refusal(fat);
  EXPECT_EQ(reason, "TOO_MANY_FILES");
}

TEST_F(TreeTest, WhiteoutsRemoveWhatLowerLayersHave) {
  layered_ = true;
  Add(File("a/lower"));
  Add(File("a/gone"));
  Add(File("b/lower"));
  Add(File("c/d/e"));
  Add(File("a/.wh.gone"), 1);
  Add(File("b/own"), 1);
  Add(File("b/.wh..wh..opq"), 1);
  Add(File(".wh.c"), 1);
  Add(File(".wh.never"), 1);
  EXPECT_EQ(All(), "/a /a/lower /b /b/own");
  // In the same layer they take nothing away that came before them.
  Add(File("f"), 2);
  Add(File(".wh.f"), 2);
  Add(Folder("b"), 2);
  Add(File("b/new"), 2);
  Add(File(".wh.b"), 2);
  EXPECT_EQ(All(), "/a /a/lower /b /b/new /f");
}

TEST_F(TreeTest, WhatALayerAddsStaysWhenItSaysAgainThatAFolderIsItsOwn) {
  layered_ = true;
  Add(File("a/lower"));
  Add(File("a/b/lower"));
  Add(File("a/b/own"), 1);
  Add(File("a/.wh..wh..opq"), 1);
  EXPECT_EQ(All(), "/a /a/b /a/b/own");
  Add(File("a/later"), 1);
  Add(File("a/b/.wh..wh..opq"), 1);
  Add(File("a/.wh..wh..opq"), 1);
  Add(File("a/.wh.b"), 1);
  EXPECT_EQ(All(), "/a /a/b /a/b/own /a/later");
  // To the next one they are lower.
  Add(File("a/.wh..wh..opq"), 2);
  EXPECT_EQ(All(), "/a");
}

TEST_F(TreeTest, WithoutLayersAWhiteoutIsAFile) {
  Add(File(".wh.x"));
  EXPECT_EQ(All(), "/.wh.x");
}

}  // namespace
}  // namespace umld::image
