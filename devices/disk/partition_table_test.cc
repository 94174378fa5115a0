#include "devices/disk/partition_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/process.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace umld::devices {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

// A disk of 16 MiB that sfdisk has partitioned.
std::string Partitioned(const std::string& script) {
  std::string folder = "/tmp/partition_table_test.XXXXXX";
  EXPECT_NE(mkdtemp(folder.data()), nullptr);
  const std::string disk = folder + "/disk", file = folder + "/script";
  std::ofstream(file) << script;
  std::ofstream(disk).close();
  std::filesystem::resize_file(disk, 16 * kMiB);
  auto result = RunCommand({"sh", "-c", absl::StrCat("LC_ALL=C.UTF-8 sfdisk -q --no-tell-kernel ", disk, " < ", file)},
                           std::chrono::seconds(20));
  EXPECT_TRUE(result.ok() && result->exit_code == 0) << (result.ok() ? result->output : "sfdisk did not run");
  std::ifstream in(disk);
  std::stringstream bytes;
  bytes << in.rdbuf();
  std::filesystem::remove_all(folder);
  return bytes.str();
}

PartitionTable Read(const std::string& disk) {
  auto table = ReadPartitionTable(disk.size(), [&disk](uint64_t offset, size_t size) {
    return absl::StatusOr<std::string>(offset < disk.size() ? disk.substr(offset, size) : "");
  });
  EXPECT_TRUE(table.ok()) << table.status();
  return table.value_or(PartitionTable{});
}

constexpr char kLogical[] =
    "label: dos\nstart=2048, size=4096, type=82\nstart=8192, size=20480, type=5\n"
    "start=10240, size=2048, type=83\nstart=14336, size=4096, type=8e\nstart=20480, size=2048, type=6a\n";
constexpr char kGpt[] =
    "label: gpt\nstart=2048, size=2048, type=U, name=\"EFI \xc3\xa4\xe2\x82\xac\"\n"
    "3: start=8192, size=4096, type=L, name=root\n";

TEST(PartitionTableTest, PrimaryAndLogicalOnes) {
  const PartitionTable table = Read(Partitioned(kLogical));
  EXPECT_EQ(table.kind, "dos");
  EXPECT_EQ(table.partitions, (std::vector<Partition>{
                                  {1, 1 * kMiB, 2 * kMiB, "82", "Linux swap", ""},
                                  {2, 4 * kMiB, 10 * kMiB, "05", "Extended", ""},
                                  {5, 5 * kMiB, 1 * kMiB, "83", "Linux", ""},
                                  {6, 7 * kMiB, 2 * kMiB, "8e", "Linux LVM", ""},
                                  {7, 10 * kMiB, 1 * kMiB, "6a", "", ""},
                              }));
}

TEST(PartitionTableTest, Gpt) {
  const std::vector<Partition> expected = {
      {1, 1 * kMiB, 1 * kMiB, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b", "EFI system", "EFI \xc3\xa4\xe2\x82\xac"},
      {3, 4 * kMiB, 2 * kMiB, "0fc63daf-8483-4772-8e79-3d69d8477de4", "Linux filesystem", "root"},
  };
  std::string disk = Partitioned(kGpt);
  EXPECT_EQ(Read(disk).kind, "gpt");
  EXPECT_EQ(Read(disk).partitions, expected);
  // A damaged first copy: the one at the end counts.
  disk[512 + 40] ^= 1;
  EXPECT_EQ(Read(disk).partitions, expected);
  disk[disk.size() - 512 + 40] ^= 1;
  const PartitionTable protective = Read(disk);
  EXPECT_EQ(protective.kind, "dos");
  ASSERT_EQ(protective.partitions.size(), 1U);
  EXPECT_EQ(protective.partitions[0].type, "GPT");
}

TEST(PartitionTableTest, WhatIsNone) {
  EXPECT_EQ(Read("").kind, "");
  EXPECT_EQ(Read(std::string(511, 'x')).kind, "");
  EXPECT_EQ(Read(std::string(1 << 20, '\0')).kind, "");
  // A boot sector of a filesystem: signature, and text where the table would be.
  std::string boot(1 << 20, 'm');
  boot[510] = '\x55';
  boot[511] = '\xaa';
  EXPECT_EQ(Read(boot).kind, "");
}

TEST(PartitionTableTest, WhatLiesBeyondTheDiskIsLeftOut) {
  std::string disk = Partitioned(kLogical);
  disk.resize(8 * kMiB);
  const PartitionTable table = Read(disk);
  std::vector<uint32_t> numbers;
  for (const Partition& partition : table.partitions) numbers.push_back(partition.number);
  EXPECT_EQ(numbers, (std::vector<uint32_t>{1, 5}));
}

TEST(PartitionTableTest, AnErrorOfTheDiskIsReturned) {
  const auto table = ReadPartitionTable(
      kMiB, [](uint64_t, size_t) { return absl::StatusOr<std::string>(absl::UnavailableError("bad sector")); });
  EXPECT_EQ(table.status().message(), "bad sector");
}

TEST(PartitionTableTest, DamageIsHarmless) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(absl::StrCat("seed ", seed));
  std::mt19937 random(seed);
  std::vector<std::string> disks = {Partitioned(kLogical), Partitioned(kGpt)};
  for (std::string& disk : disks) {
    for (int round = 0; round < 1000; ++round) {
      // Where the tables are: the first 34 sectors, and the chain of the extended partition.
      std::vector<std::pair<size_t, char>> old;
      for (unsigned i = 0; i < 1 + random() % 8; ++i) {
        const size_t places[] = {random() % 17408, 446 + random() % 66, 8192 * 512 + 446 + random() % 66,
                                 512 + random() % 92};
        const size_t at = places[random() % 4];
        old.emplace_back(at, disk[at]);
        disk[at] = static_cast<char>(random());
      }
      LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(disk.data()), disk.size());
      for (auto it = old.rbegin(); it != old.rend(); ++it) disk[it->first] = it->second;
    }
  }
}

}  // namespace
}  // namespace umld::devices
