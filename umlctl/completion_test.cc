#include "umlctl/completion.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>

#include "gtest/gtest.h"

namespace umld::umlctl {
namespace {

class CompletionTest : public testing::Test {
 protected:
  CompletionTest() {
    app_.add_option("-o,--output", text_);
    CLI::App* start = app_.add_subcommand("start");
    start->add_option("NAME", names_);
    start->add_flag("--all", all_);
    CLI::App* unplug = app_.add_subcommand("unplug");
    unplug->add_option("NAME", names_);
    app_.add_subcommand("image")->add_subcommand("delete");
    app_.add_subcommand("create")->add_option("--image", text_);
    app_.add_subcommand("__complete");
  }

  std::vector<std::string> At(const std::vector<std::string>& words) {
    return Complete(app_, words, [](absl::string_view kind, const std::string& guest) {
      return std::vector<std::string>{std::string(kind) + "(" + guest + ")"};
    });
  }
  bool Offers(const std::vector<std::string>& words, const std::string& candidate) {
    const std::vector<std::string> all = At(words);
    return std::find(all.begin(), all.end(), candidate) != all.end();
  }

  CLI::App app_;
  std::string text_;
  std::vector<std::string> names_;
  bool all_ = false;
};

using Words = std::vector<std::string>;

TEST_F(CompletionTest, Verbs) {
  EXPECT_EQ(At({""}), (Words{"start", "unplug", "image", "create"}));
  EXPECT_EQ(At({"image", ""}), Words{"delete"});
  EXPECT_EQ(At({"-o", "json", "st"}), (Words{"start", "unplug", "image", "create"}));
}

TEST_F(CompletionTest, Names) {
  EXPECT_EQ(At({"start", ""}), Words{"guests()"});
  EXPECT_EQ(At({"start", "web1", "we"}), Words{"guests(web1)"});
  EXPECT_EQ(At({"unplug", "web1", ""}), Words{"devices(web1)"});
  EXPECT_EQ(At({"unplug", "web1", "ubdb", ""}), Words{});
  EXPECT_EQ(At({"image", "delete", ""}), Words{"images()"});
}

TEST_F(CompletionTest, OptionsAndTheirValues) {
  EXPECT_TRUE(Offers({"start", "--"}, "--all"));
  EXPECT_TRUE(Offers({"start", "-"}, "--output"));
  EXPECT_EQ(At({"create", "--image", ""}), Words{"images()"});
  EXPECT_EQ(At({"start", "-o", ""}), (Words{"table", "wide", "json", "yaml", "name"}));
  EXPECT_EQ(At({"start", "--all", ""}), Words{"guests()"});
}

TEST_F(CompletionTest, Scripts) {
  for (const char* shell : {"bash", "zsh", "fish"}) EXPECT_NE(CompletionScript(shell), nullptr);
  EXPECT_EQ(CompletionScript("csh"), nullptr);
}

}  // namespace
}  // namespace umld::umlctl
