#include "umlctl/asciicast.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umld::umlctl {
namespace {

using nlohmann::json;

constexpr absl::Time kBegin = absl::FromUnixSeconds(1'700'000'000);

class AsciicastTest : public testing::Test {
 protected:
  AsciicastTest() {
    folder_ = "/tmp/asciicast_test.XXXXXX";
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    options_.path = folder_ + "/web1.cast";
    options_.title = "web1 con1";
  }
  ~AsciicastTest() override { std::filesystem::remove_all(folder_); }

  // Every line must be JSON.
  static std::vector<json> Lines(const std::string& path) {
    std::ifstream file(path);
    std::vector<json> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
    return lines;
  }

  std::string folder_;
  Asciicast::Options options_;
};

TEST_F(AsciicastTest, AHeaderAndEvents) {
  auto cast = Asciicast::Create(options_, kBegin);
  ASSERT_TRUE(cast.ok()) << cast.status();
  ASSERT_TRUE(cast->Output("login: \x1b[31m\"", kBegin + absl::Milliseconds(1500)).ok());
  ASSERT_TRUE(cast->Input("root\r", kBegin + absl::Seconds(2)).ok());
  ASSERT_TRUE(cast->Marker("umld went away", kBegin + absl::Seconds(3)).ok());
  auto lines = Lines(options_.path);
  ASSERT_EQ(lines.size(), 4U);
  EXPECT_EQ(
      lines[0],
      json({{"version", 2}, {"width", 80}, {"height", 24}, {"timestamp", 1'700'000'000}, {"title", "web1 con1"}}));
  EXPECT_EQ(lines[1], json::array({1.5, "o", "login: \x1b[31m\""}));
  EXPECT_EQ(lines[2], json::array({2.0, "i", "root\r"}));
  EXPECT_EQ(lines[3], json::array({3.0, "m", "umld went away"}));
}

TEST_F(AsciicastTest, CharactersThatComeInPiecesAreWhole) {
  auto cast = Asciicast::Create(options_, kBegin);
  const std::string text = "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80!";
  for (char c : text) ASSERT_TRUE(cast->Output(std::string(1, c), kBegin).ok());
  std::string all;
  for (const json& line : Lines(options_.path)) {
    if (line.is_array()) all += line[2].get<std::string>();
  }
  EXPECT_EQ(all, text);
}

TEST_F(AsciicastTest, AnyBytesMakeAValidFile) {
  auto cast = Asciicast::Create(options_, kBegin);
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes.push_back(static_cast<char>(i));
  for (int i = 255; i >= 0; --i) bytes.push_back(static_cast<char>(i));
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(cast->Output(bytes, kBegin).ok());
  EXPECT_GT(Lines(options_.path).size(), 100U);
}

TEST_F(AsciicastTest, CutCharacter) {
  EXPECT_EQ(CutCharacter(""), 0U);
  EXPECT_EQ(CutCharacter("abc"), 0U);
  EXPECT_EQ(CutCharacter("a\xc3"), 1U);
  EXPECT_EQ(CutCharacter("a\xc3\xbc"), 0U);
  EXPECT_EQ(CutCharacter("\xe2\x82"), 2U);
  EXPECT_EQ(CutCharacter("\xf0\x9f\x98"), 3U);
  EXPECT_EQ(CutCharacter("\xf0\x9f\x98\x80"), 0U);
  EXPECT_EQ(CutCharacter("\x80\x80\x80\x80"), 0U);
}

TEST_F(AsciicastTest, StopsAtTheLimit) {
  options_.max_bytes = 64 * 1024;
  auto cast = Asciicast::Create(options_, kBegin);
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(cast->Output(std::string(1000, 'x'), kBegin).ok());
  EXPECT_TRUE(cast->full());
  EXPECT_LE(std::filesystem::file_size(options_.path), options_.max_bytes);
  EXPECT_GT(std::filesystem::file_size(options_.path), options_.max_bytes - 2000);
  Lines(options_.path);
}

TEST_F(AsciicastTest, RotatesAndKeepsTheYoungest) {
  options_.max_bytes = 64 * 1024;
  options_.keep = 2;
  auto cast = Asciicast::Create(options_, kBegin);
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(cast->Output(std::string(1000, 'x') + std::to_string(i), kBegin + absl::Seconds(i)).ok());
  }
  EXPECT_FALSE(cast->full());
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    files.push_back(entry.path().filename());
    auto lines = Lines(entry.path());
    ASSERT_GT(lines.size(), 1U);
    EXPECT_EQ(lines[0]["version"], 2);
    EXPECT_LT(lines[1][0].get<double>(), 1.0);  // its own clock
    EXPECT_LE(std::filesystem::file_size(entry.path()), options_.max_bytes);
  }
  EXPECT_THAT(files, testing::UnorderedElementsAre("web1.cast", "web1.cast.1", "web1.cast.2"));
  EXPECT_THAT(Lines(options_.path).back()[2].get<std::string>(), testing::EndsWith("x299"));
}

TEST_F(AsciicastTest, RefusesToOverwriteAndBadLimits) {
  std::ofstream(options_.path) << "precious";
  EXPECT_EQ(Asciicast::Create(options_, kBegin).status().code(), absl::StatusCode::kAlreadyExists);
  options_.path += "2";
  options_.max_bytes = 1000;
  EXPECT_EQ(Asciicast::Create(options_, kBegin).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(std::filesystem::exists(options_.path));
  options_.path = folder_ + "/none/x.cast";
  options_.max_bytes = 0;
  EXPECT_EQ(Asciicast::Create(options_, kBegin).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace umld::umlctl
