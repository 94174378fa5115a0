#include "umld/kernel_catalog.h"

#include <string>

#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

using testing::UnorderedElementsAre;

class KernelCatalogTest : public testing::Test {
 protected:
  KernelCatalogTest() {
    catalog_.Set({{.name = "five", .sha256 = "aa", .symbols = "", .modules = "", .description = ""},
                  {.name = "six", .sha256 = "bb", .symbols = "cc", .modules = "dd", .description = ""}});
  }
  void SetDefault(const std::string& name) {
    std::vector<state::KernelRow> rows = catalog_.rows();
    for (state::KernelRow& row : rows) row.is_default = row.name == name;
    catalog_.Set(std::move(rows));
  }
  std::string PathOf(const std::string& wish) const { return catalog_.Choose(wish)->path; }

  KernelCatalog catalog_{"/state/kernels", "/usr/bin/linux.uml"};
};

TEST_F(KernelCatalogTest, WishesComeToFiles) {
  EXPECT_EQ(PathOf("/srv/linux"), "/srv/linux");
  EXPECT_EQ(PathOf("kernels/five"), "/state/kernels/aa.linux");
  EXPECT_EQ(PathOf("kernels/system"), "/usr/bin/linux.uml");
  EXPECT_EQ(PathOf(""), "/usr/bin/linux.uml");
  EXPECT_TRUE(catalog_.Choose("")->by_default);
  SetDefault("six");
  EXPECT_EQ(PathOf(""), "/state/kernels/bb.linux");
  EXPECT_EQ(catalog_.Choose("")->name, "kernels/six");
  EXPECT_EQ(catalog_.Choose("")->modules, "/state/kernels/dd.modules");
  EXPECT_FALSE(catalog_.Choose("kernels/six")->by_default);
  EXPECT_EQ(PathOf("kernels/system"), "/usr/bin/linux.uml");
  for (const char* wrong : {"kernels/seven", "six", "kernels/"}) {
    EXPECT_EQ(GetErrorDetail(catalog_.Choose(wrong).status()).reason, "KERNEL_NOT_FOUND") << wrong;
  }
  EXPECT_THAT(catalog_.AllPaths(), UnorderedElementsAre("/state/kernels/aa.linux", "/state/kernels/bb.linux",
                                                        "/state/kernels/cc.symbols", "/state/kernels/dd.modules"));
}

TEST_F(KernelCatalogTest, AGuestThatRunsHasWhatItWasStartedWith) {
  GuestView view;
  SetDefault("six");
  EXPECT_EQ(catalog_.ChoiceOf(view)->name, "kernels/six");
  view.alive = true;
  view.facts.mutable_config()->set_kernel("/state/kernels/bb.linux");
  view.facts.mutable_config()->set_kernel_name("kernels/six");
  view.facts.mutable_config()->set_follows_default(true);
  SetDefault("five");
  EXPECT_EQ(catalog_.ChoiceOf(view)->name, "kernels/six");
  EXPECT_EQ(catalog_.ChoiceOf(view)->modules, "/state/kernels/dd.modules");
  view.alive = false;
  EXPECT_EQ(catalog_.ChoiceOf(view)->name, "kernels/five");
}

TEST_F(KernelCatalogTest, WhatIsHeldIsKnown) {
  {
    const auto held = catalog_.Hold("kernels/six");
    ASSERT_TRUE(held.ok());
    const auto again = catalog_.Hold("kernels/six");
    EXPECT_TRUE(catalog_.IsHeld("/state/kernels/bb.linux"));
    EXPECT_FALSE(catalog_.IsHeld("/state/kernels/aa.linux"));
  }
  EXPECT_FALSE(catalog_.IsHeld("/state/kernels/bb.linux"));
  EXPECT_FALSE(catalog_.Hold("kernels/seven").ok());
}

}  // namespace
}  // namespace umld
