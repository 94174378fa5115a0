#include "vmcore/disks.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/event_loop.h"
#include "base/status.h"
#include "vmcore/mconsole_client.h"
#include "vmcore/mconsole_fake.h"

namespace umld::vmcore {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using Commands = std::vector<std::string>;

v1::Disk MakeDisk(uint32_t unit, const std::string& flags, const std::string& path) {
  v1::Disk disk;
  disk.set_unit(unit);
  disk.set_flags(flags);
  disk.set_path(path);
  return disk;
}

// Disks against a kernel whose every answer the test decides.
class DisksTest : public testing::Test {
 protected:
  DisksTest() {
    folder_ = "/tmp/disks_test.XXXXXX";
    EXPECT_NE(mkdtemp(folder_.data()), nullptr);
    fs::current_path(folder_);
    fs::create_directory("kernel");
    fs::create_directory("shown");
    file_ = folder_ + "/file.img";
    std::ofstream(file_) << std::string(4096, 'x');
    loop_ = *EventLoop::Create();
    mconsole_ = std::make_unique<MconsoleClient>(loop_.get(), folder_ + "/mconsole", folder_);
    kernel_ = std::make_unique<FakeMconsole>(loop_.get(), folder_ + "/mconsole",
                                             [this](const std::string& command, const FakeMconsole::Peer& from) {
                                               seen_.push_back(command);
                                               Answer(command, from);
                                             });
    v1::GuestConfig config;
    *config.add_disks() = MakeDisk(0, "r", file_);
    disks_ = std::make_unique<Disks>(loop_.get(), mconsole_.get(), nullptr, config, milliseconds(500));
  }
  ~DisksTest() override {
    disks_.reset();
    mconsole_.reset();
    kernel_.reset();
    fs::current_path("/");
    fs::remove_all(folder_);
  }

  void Answer(const std::string& command, const FakeMconsole::Peer& from) {
    if (command == refused_) {
      kernel_->Reply(from, "Couldn't do it", refusal_);
    } else if (command != silent_) {
      kernel_->Reply(from, command == "config ubdb" ? value_ : "");
    }
  }

  absl::Status Plug(const v1::Disk& disk) {
    absl::Status result = absl::InternalError("no answer");
    disks_->Plug(disk, [&](const absl::Status& status) {
      result = status;
      loop_->Quit();
    });
    loop_->Run();
    return result;
  }
  absl::Status Replug(uint32_t unit) {
    absl::Status result = absl::InternalError("no answer");
    disks_->Replug(unit, [&](const absl::Status& status) {
      result = status;
      loop_->Quit();
    });
    loop_->Run();
    return result;
  }
  absl::Status Unplug(uint32_t unit) {
    absl::Status result = absl::InternalError("no answer");
    disks_->Unplug(unit, [&](const absl::Status& status) {
      result = status;
      loop_->Quit();
    });
    loop_->Run();
    return result;
  }

  std::string folder_, file_;
  std::unique_ptr<EventLoop> loop_;
  std::unique_ptr<MconsoleClient> mconsole_;
  std::unique_ptr<FakeMconsole> kernel_;
  std::unique_ptr<Disks> disks_;
  Commands seen_;
  std::string refused_, silent_, value_;
  int refusal_ = 1;
};

TEST_F(DisksTest, PlugsAndUnplugs) {
  std::string other = folder_ + "/other.img";
  std::ofstream(other) << std::string(4096, 'y');
  EXPECT_TRUE(Plug(MakeDisk(1, "", other)).ok());
  EXPECT_EQ(seen_, (Commands{"config ubdb=" + other}));
  EXPECT_EQ(disks_->live().size(), 2U);
  EXPECT_TRUE(Unplug(1).ok());
  EXPECT_EQ(seen_.back(), "remove ubdb");
  EXPECT_EQ(disks_->live().size(), 1U);
}

TEST_F(DisksTest, FlagsOfARefusedPlugDoNotStay) {
  refused_ = "config ubdbrct=" + file_;
  absl::Status status = Plug(MakeDisk(1, "rct", file_));
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorDetail(status).reason, "KERNEL_REFUSED");
  EXPECT_EQ(seen_, (Commands{refused_, "config ubdb=kernel/scratch", "remove ubdb"}));
  EXPECT_FALSE(fs::exists("scratch.img"));
  EXPECT_EQ(disks_->live().size(), 1U);
}

TEST_F(DisksTest, ATakenUnitIsNotTouched) {
  refused_ = "config ubdbrt=" + file_;
  refusal_ = -EBUSY;
  EXPECT_EQ(Plug(MakeDisk(1, "rt", file_)).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(seen_.back(), refused_) << "a remove would take somebody's disk away";
  EXPECT_GT(seen_.size(), 4U) << "it is asked for a while: a removed disk can keep its unit for a moment";
  EXPECT_EQ(Plug(MakeDisk(0, "r", file_)).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(DisksTest, APlugThatWasNotAnsweredIsLookedUp) {
  silent_ = "config ubdbr=" + file_;
  value_ = file_;
  EXPECT_TRUE(Plug(MakeDisk(1, "r", file_)).ok());
  EXPECT_EQ(seen_.back(), "config ubdb");
  EXPECT_EQ(disks_->live().size(), 2U);
  silent_ = "remove ubdb";
  EXPECT_EQ(Unplug(1).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(disks_->live().size(), 2U) << "the kernel says that it is there";
}

TEST_F(DisksTest, ABusyDiskComesWithAHint) {
  refused_ = "remove ubda";
  refusal_ = -EBUSY;
  absl::Status status = Unplug(0);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorDetail(status).reason, "DEVICE_BUSY");
  EXPECT_NE(GetErrorDetail(status).hint.find("umount /dev/ubda"), std::string::npos);
  refusal_ = -ENODEV;
  EXPECT_TRUE(Unplug(0).ok()) << "it is gone, which is what was asked";
}

TEST_F(DisksTest, ReplugShowsTheNewSize) {
  ASSERT_TRUE(Plug(MakeDisk(1, "r", file_)).ok());
  EXPECT_EQ(disks_->live().at(1).size_bytes(), 4096U);
  fs::resize_file(file_, 10000);
  EXPECT_TRUE(Replug(1).ok());
  EXPECT_EQ(seen_, (Commands{"config ubdbr=" + file_, "remove ubdb", "config ubdbr=" + file_}));
  EXPECT_EQ(disks_->live().at(1).size_bytes(), 10240U) << "whole sectors";
  // In use: nothing has changed.
  refused_ = "remove ubdb";
  refusal_ = -EBUSY;
  EXPECT_EQ(GetErrorDetail(Replug(1)).reason, "DEVICE_BUSY");
  EXPECT_EQ(disks_->live().size(), 2U);
  // Gone, and not taken again.
  refused_ = "config ubdbr=" + file_;
  refusal_ = -EINVAL;
  EXPECT_EQ(GetErrorDetail(Replug(1)).reason, "DISK_LOST");
  EXPECT_EQ(disks_->live().size(), 1U);
  EXPECT_EQ(Replug(1).code(), absl::StatusCode::kNotFound);
}

TEST_F(DisksTest, ReplugChecksBeforeItLetsGo) {
  std::string other = folder_ + "/other.img";
  std::ofstream(other) << std::string(4096, 'y');
  ASSERT_TRUE(Plug(MakeDisk(1, "", other)).ok());
  fs::remove(other);
  EXPECT_EQ(Replug(1).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(seen_.back(), "config ubdb=" + other);
  EXPECT_EQ(disks_->live().size(), 2U);
}

TEST_F(DisksTest, LongPathsAreShownAsLinks) {
  std::string folder = folder_ + "/" + std::string(250, 'd');
  fs::create_directory(folder);
  std::ofstream(folder + "/base") << std::string(4096, 'y');
  v1::Disk disk = MakeDisk(1, "", folder + "/cow");
  disk.set_backing(folder + "/base");
  ASSERT_TRUE(Plug(disk).ok());
  EXPECT_EQ(seen_.back(), "config ubdb=shown/ubdb,shown/ubdb.backing");
  EXPECT_EQ(fs::read_symlink("shown/ubdb"), folder + "/cow");
  EXPECT_EQ(fs::read_symlink("shown/ubdb.backing"), folder + "/base");
  EXPECT_TRUE(fs::exists(folder + "/cow"));
  EXPECT_EQ(disks_->live().at(1).path(), folder + "/cow") << "the user's own path";
  ASSERT_TRUE(Unplug(1).ok());
  EXPECT_TRUE(fs::is_empty("shown"));
}

TEST_F(DisksTest, ARefusedPlugLeavesNoNewFile) {
  v1::Disk disk = MakeDisk(1, "", folder_ + "/new.cow");
  disk.set_backing(file_);
  refused_ = "config ubdb=" + disk.path() + "," + file_;
  EXPECT_EQ(GetErrorDetail(Plug(disk)).reason, "KERNEL_REFUSED");
  EXPECT_FALSE(fs::exists(disk.path()));
}

TEST_F(DisksTest, OneOperationAtATime) {
  int done = 0;
  auto count = [&](const absl::Status& status) {
    EXPECT_TRUE(status.ok()) << status;
    if (++done == 3) loop_->Quit();
  };
  disks_->Plug(MakeDisk(1, "r", file_), count);
  disks_->Unplug(1, count);
  disks_->Plug(MakeDisk(1, "r", file_), count);
  loop_->Run();
  EXPECT_EQ(seen_, (Commands{"config ubdbr=" + file_, "remove ubdb", "config ubdbr=" + file_}));
}

TEST_F(DisksTest, AfterAllIsTheLast) {
  std::string story;
  disks_->AfterAll([&] { story += "first "; });
  disks_->Plug(MakeDisk(1, "r", file_), [&](const absl::Status&) { story += "plugged "; });
  disks_->Unplug(1, [&](const absl::Status&) { story += "unplugged "; });
  disks_->AfterAll([&] {
    story += "all";
    loop_->Quit();
  });
  loop_->Run();
  EXPECT_EQ(story, "first plugged unplugged all");
}

TEST_F(DisksTest, AbandonTellsAllThatWait) {
  silent_ = "config ubdbr=" + file_;
  std::vector<absl::StatusCode> codes;
  auto note = [&](const absl::Status& status) { codes.push_back(status.code()); };
  disks_->Plug(MakeDisk(1, "r", file_), note);
  disks_->Unplug(1, note);
  loop_->RunAfter(milliseconds(100), [&] { loop_->Quit(); });
  loop_->Run();
  disks_->Abandon("the guest's kernel has ended");
  mconsole_->Abandon("the guest's kernel has ended");
  EXPECT_EQ(codes, std::vector<absl::StatusCode>(2, absl::StatusCode::kCancelled));
}

TEST_F(DisksTest, PrepareBootKeepsUbdaFree) {
  v1::GuestConfig config;
  EXPECT_TRUE(Disks::PrepareBoot(config, nullptr).ok());
  EXPECT_TRUE(fs::exists("kernel/ubda"));
  // Its placeholder goes when the unit is wanted.
  Disks disks(loop_.get(), mconsole_.get(), nullptr, config);
  disks.Plug(MakeDisk(0, "r", file_), [&](const absl::Status& status) {
    EXPECT_TRUE(status.ok()) << status;
    loop_->Quit();
  });
  loop_->Run();
  EXPECT_EQ(seen_, (Commands{"remove ubda", "config ubdar=" + file_}));
}

TEST_F(DisksTest, PrepareBootChecksTheFiles) {
  v1::GuestConfig missing, twice, readers;
  *missing.add_disks() = MakeDisk(1, "", folder_ + "/none");
  *twice.add_disks() = MakeDisk(0, "", file_);
  *twice.add_disks() = MakeDisk(1, "", file_);
  *readers.add_disks() = MakeDisk(0, "r", file_);
  *readers.add_disks() = MakeDisk(1, "r", file_);
  absl::Status status = Disks::PrepareBoot(missing, nullptr);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message().substr(0, 11), "disk ubdb: ");
  EXPECT_EQ(Disks::PrepareBoot(twice, nullptr).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Disks::PrepareBoot(readers, nullptr).ok());
}

}  // namespace
}  // namespace umld::vmcore
