#include "umld/labels.h"

#include "base/status.h"
#include "gtest/gtest.h"

namespace umld {
namespace {

bool Matches(const std::string& selector, const Labels& labels) {
  const absl::StatusOr<LabelSelector> parsed = LabelSelector::Parse(selector);
  EXPECT_TRUE(parsed.ok()) << parsed.status();
  return parsed.ok() && parsed->Matches(labels);
}

TEST(LabelsTest, WhatCanBeOne) {
  EXPECT_TRUE(CheckLabels({}).ok());
  EXPECT_TRUE(CheckLabels({{"lab", "net1"}, {"example.org/role", ""}, {"a", "9.x-y_z"}}).ok());
  EXPECT_TRUE(CheckLabels({{std::string(63, 'k'), std::string(63, 'v')}}).ok());
  for (const Labels& bad : std::initializer_list<Labels>{{{"", "v"}},
                                                         {{"-k", "v"}},
                                                         {{"k k", "v"}},
                                                         {{"k", "a,b"}},
                                                         {{"k", "a=b"}},
                                                         {{"k", "\xc3\xa4"}},
                                                         {{std::string("k\0", 2), "v"}},
                                                         {{std::string(64, 'k'), "v"}},
                                                         {{"k", std::string(64, 'v')}}}) {
    EXPECT_EQ(GetErrorDetail(CheckLabels(bad)).reason, "INVALID_LABEL") << bad.begin()->first;
  }
  Labels many;
  for (int i = 0; i < 64; ++i) many["k" + std::to_string(i)] = "v";
  EXPECT_TRUE(CheckLabels(many).ok());
  many["one-more"] = "v";
  EXPECT_FALSE(CheckLabels(many).ok());
}

TEST(LabelSelectorTest, EveryTermHasToHold) {
  const Labels labels{{"lab", "net1"}, {"role", "router"}, {"flag", ""}};
  EXPECT_TRUE(Matches("", labels));
  EXPECT_TRUE(Matches("", {}));
  EXPECT_TRUE(Matches("lab=net1", labels));
  EXPECT_TRUE(Matches("lab=net1,role=router,flag", labels));
  EXPECT_TRUE(Matches("flag=", labels));
  EXPECT_TRUE(Matches("!old,role!=host,other!=x", labels));
  EXPECT_FALSE(Matches("lab=net2", labels));
  EXPECT_FALSE(Matches("lab=net1,role=host", labels));
  EXPECT_FALSE(Matches("lab!=net1", labels));
  EXPECT_FALSE(Matches("!lab", labels));
  EXPECT_FALSE(Matches("rack", labels));
  EXPECT_FALSE(Matches("lab=", labels));
}

TEST(LabelSelectorTest, NonsenseIsRefused) {
  for (const char* bad : {",", "lab=net1,", "=net1", "!", "!lab=net1", "lab==net1", "lab=a b", "!=x", "lab = net1"}) {
    EXPECT_EQ(GetErrorDetail(LabelSelector::Parse(bad).status()).reason, "INVALID_LABEL_SELECTOR") << bad;
  }
}

}  // namespace
}  // namespace umld
