// Our COW code against the kernel's, with a model beside both: what a guest writes at random is what we read, sector by
// sector, and what we make of the file is what a guest reads.
#include <fstream>
#include <iterator>
#include <random>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/host.h"
#include "tests/shared_host.h"

namespace umld::tests {
namespace {

constexpr size_t kSector = 512;
// No whole number of pages, so that the last one is cut.
constexpr size_t kSectors = 8192 + 3, kPoolSectors = 1024;
constexpr size_t kAtMost = 40;  // sectors written at once
constexpr int kRounds = 4, kWritesARound = 25;

class CowKernel : public SharedHost {
 protected:
  std::string Noise(size_t bytes) {
    std::string noise(bytes, '\0');
    for (char& c : noise) c = static_cast<char>(random_());
    return noise;
  }
  size_t Below(size_t bound) { return std::uniform_int_distribution<size_t>(0, bound - 1)(random_); }

  // Writes pieces of the pool into the disk, in the guest and in the model.
  void WriteInGuest(bool direct) {
    std::string script = absl::StrCat("d() { dd if=/dev/ubdc of=/dev/ubdb bs=512 conv=notrunc ",
                                      direct ? "iflag=direct oflag=direct" : "", " \"$@\" 2>/dev/null; }\n");
    for (int i = 0; i < kWritesARound; ++i) {
      const size_t count = 1 + Below(kAtMost), to = Below(kSectors - count + 1), from = Below(kPoolSectors - count + 1);
      absl::StrAppend(&script, "d seek=", to, " skip=", from, " count=", count, " || exit 1\n");
      model_.replace(to * kSector, count * kSector, pool_, from * kSector, count * kSector);
      for (size_t sector = to; sector < to + count; ++sector) written_.insert(sector);
    }
    std::ofstream(host_->Work("script")) << script;
    ASSERT_TRUE(Ok(host_->Shell("truncate -s 16384 script")));
    ASSERT_TRUE(Ok(host_->Run({"plug", "web1", "ubddr=script"})));
    EXPECT_EQ(
        host_->RunInGuest("web1", "tr -d '\\0' </dev/ubdd >/tmp/script && sh /tmp/script && sync && echo done").out,
        "done\n");
    ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdd"})));
  }
  std::string SumInGuest() {
    // Page by page: the kernel reads several at once wrongly, when of one of them only a part was written.
    return host_
        ->RunInGuest("web1", "sync; echo 0 >/sys/block/ubdb/queue/read_ahead_kb; sha256sum </dev/ubdb | cut -c 1-64")
        .out;
  }
  std::string SumOfModel() {
    std::ofstream(host_->Work("model"), std::ios::binary) << model_;
    return host_->Shell("sha256sum <model | cut -c 1-64").out;
  }

  std::mt19937 random_{20261125};
  std::string pool_, model_;
  std::set<size_t> written_;
};

TEST_F(CowKernel, WritesAndReadsWhatWeReadAndWrite) {
  pool_ = Noise(kPoolSectors * kSector);
  model_ = Noise(kSectors * kSector);
  std::ofstream(host_->Work("pool"), std::ios::binary) << pool_;
  std::ofstream(host_->Work("backing"), std::ios::binary) << model_;
  ASSERT_TRUE(host_->CreateAndStart("web1", {"--disk", "ubdb=cow,backing", "--disk", "ubdcr=pool"}));
  ASSERT_EQ(SumInGuest(), SumOfModel());
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(round);
    // Single sectors first, then what the guest's cache makes of them.
    WriteInGuest(/*direct=*/round < 2);
    ASSERT_EQ(SumInGuest(), SumOfModel());
    ASSERT_TRUE(Ok(host_->Run({"unplug", "web1", "ubdb"})));
    const Json cow = Json::parse(host_->Run({"disk", "info", "cow", "-o", "json"}).out)["cow"];
    const size_t has = cow["written_bytes"];
    if (round < 2) {
      EXPECT_EQ(has, written_.size() * kSector);
    } else {
      EXPECT_GE(has, written_.size() * kSector);
    }
    const std::string image = absl::StrCat("round", round);
    ASSERT_TRUE(Ok(host_->Run({"disk", "commit", "cow", "--image", image, "--backing", "backing"})));
    ASSERT_TRUE(Ok(host_->Run({"image", "export", image, image})));
    EXPECT_TRUE(Ok(host_->Shell("cmp model " + image)));
    // Its backing file moves, and the header follows.
    ASSERT_TRUE(Ok(host_->Shell("mv backing moved && cp --preserve=timestamps moved backing")));
    ASSERT_TRUE(Ok(host_->Run({"disk", "rebase", "cow", round % 2 == 0 ? "moved" : "backing", "--same-content"})));
    ASSERT_TRUE(Ok(host_->Run({"plug", "web1", round % 2 == 0 ? "ubdb=cow,moved" : "ubdb=cow,backing"})));
    ASSERT_EQ(SumInGuest(), SumOfModel());
  }
}

}  // namespace
}  // namespace umld::tests
