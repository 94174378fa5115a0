#include "state/store.h"

#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "state/database.h"
#include "state/test_folder.h"

namespace umld::state {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// One value in every field.
GuestRow FullGuest(const std::string& name) {
  GuestRow guest;
  guest.name = name;
  guest.kernel = "/usr/bin/linux.uml";
  guest.memory_bytes = uint64_t{1} << 40;
  guest.kernel_args = {"quiet", "a=\"b c\"", "h\xc3\xa9", ""};
  guest.labels = {{"lab", "net1"}, {"flag", ""}};
  guest.snapshot_id = 5;
  guest.description = "it's";
  guest.version = 3;
  guest.created_ns = 1'700'000'000'000'000'000;
  guest.wanted_running = true;
  guest.trusted = true;
  guest.keeps_memory = true;
  guest.disks = {{.unit = 0, .path = "/c", .backing = "/b", .flags = "cs", .serial = "S", .managed = true},
                 {.unit = 15, .path = "/d", .backing = "", .flags = "", .serial = "", .managed = false}};
  guest.consoles = {{.device = "con1", .channel = "pts"}, {.device = "con0", .channel = "port:9000"}};
  guest.nics = {{.device = "eth0", .spec = "vec0:transport=tap", .mac = "02:00:00:00:00:01"}};
  guest.last_exit = ExitRow{.kind = 2,
                            .reason = "panic",
                            .exit_code = -1,
                            .signal = 9,
                            .last_lines = std::string("a\nb\0\xff", 5),
                            .stop_stage = "kill",
                            .time_ns = 5};
  return guest;
}

OperationRow FullOperation(const std::string& request_id) {
  return {.id = 0,
          .verb = "start",
          .guest_id = 12,
          .target = "guests/web1",
          .payload = std::string("\0\1\xff", 3),
          .request_id = request_id,
          .done = false,
          .code = absl::StatusCode::kNotFound,
          .message = "m",
          .reason = "r",
          .subject = "s",
          .hint = "h",
          .created_ns = 1,
          .ended_ns = 2};
}

EventRow Event(const std::string& message) {
  EventRow event;
  event.time_ns = 77;
  event.type = "CREATED";
  event.subject = "guests/web1";
  event.guest_state = 2;
  event.message = message;
  return event;
}

class StoreTest : public testing::Test {
 protected:
  void SetUp() override { Reopen(); }

  void Reopen() {
    store_.reset();
    auto store = Store::Open(path_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  absl::Status InsertGuest(GuestRow& guest) {
    return store_->Commit([&](Transaction& transaction) -> absl::Status {
      ASSIGN_OR_RETURN(guest.id, transaction.InsertGuest(guest));
      return absl::OkStatus();
    });
  }
  absl::Status InsertOperation(OperationRow& operation) {
    return store_->Commit([&](Transaction& transaction) -> absl::Status {
      ASSIGN_OR_RETURN(operation.id, transaction.InsertOperation(operation));
      return absl::OkStatus();
    });
  }
  absl::Status UpdateGuest(const GuestRow& guest) {
    return store_->Commit([&](Transaction& transaction) { return transaction.UpdateGuest(guest); });
  }
  absl::Status DeleteGuest(uint64_t id) {
    return store_->Commit([&](Transaction& transaction) { return transaction.DeleteGuest(id); });
  }
  absl::Status InsertImage(const ImageRow& image) {
    return store_->Commit([&](Transaction& transaction) { return transaction.InsertImage(image); });
  }
  absl::Status DeleteImage(const std::string& digest) {
    return store_->Commit([&](Transaction& transaction) { return transaction.DeleteImage(digest); });
  }
  absl::Status AppendEvents(int count) { return AppendEventsOf("guests/web1", count); }
  absl::Status AppendEventsOf(const std::string& subject, int count) {
    return store_->Commit([&](Transaction& transaction) -> absl::Status {
      for (int i = 0; i < count; ++i) {
        EventRow event = Event(absl::StrCat(i));
        event.subject = subject;
        RETURN_IF_ERROR(transaction.AppendEvent(event).status());
      }
      return absl::OkStatus();
    });
  }

  TestFolder folder_;
  const std::string path_ = folder_.File("umld.db");
  std::unique_ptr<Store> store_;
};

TEST_F(StoreTest, EmptyToBeginWith) {
  EXPECT_THAT(*store_->LoadGuests(), IsEmpty());
  EXPECT_THAT(*store_->LoadImages(), IsEmpty());
  EXPECT_THAT(*store_->LoadUnfinishedOperations(), IsEmpty());
  EXPECT_THAT(*store_->ListEvents(0, 10), IsEmpty());
  EXPECT_EQ(*store_->EventRange(), std::make_pair(uint64_t{0}, uint64_t{0}));
  EXPECT_TRUE(store_->Ping().ok());
}

TEST_F(StoreTest, GuestsComeBackWholeAndByName) {
  GuestRow web = FullGuest("web");
  GuestRow bare;
  bare.name = "bare";
  ASSERT_TRUE(InsertGuest(web).ok());
  ASSERT_TRUE(InsertGuest(bare).ok());
  EXPECT_NE(web.id, bare.id);
  for (int opened = 0; opened < 2; ++opened) {
    const auto guests = store_->LoadGuests();
    ASSERT_TRUE(guests.ok()) << guests.status();
    ASSERT_THAT(*guests, SizeIs(2));
    EXPECT_TRUE(guests->at(0) == bare);
    EXPECT_TRUE(guests->at(1) == web);
    Reopen();
  }
}

TEST_F(StoreTest, UpdateReplacesTheGuestAndItsDevices) {
  GuestRow guest = FullGuest("web");
  ASSERT_TRUE(InsertGuest(guest).ok());
  guest.name = "renamed";
  guest.disks.erase(guest.disks.begin());
  guest.consoles.push_back({.device = "con2", .channel = "null"});
  guest.nics.clear();
  guest.last_exit.reset();
  guest.wanted_running = false;
  ASSERT_TRUE(UpdateGuest(guest).ok());
  ASSERT_THAT(*store_->LoadGuests(), SizeIs(1));
  EXPECT_TRUE(store_->LoadGuests()->front() == guest);

  guest.id = 999;
  guest.name = "nobody";
  const absl::Status status = UpdateGuest(guest);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetErrorDetail(status).reason, "GUEST_NOT_FOUND");
}

TEST_F(StoreTest, NamesAreTakenOnce) {
  GuestRow first = FullGuest("web");
  GuestRow second = FullGuest("db");
  GuestRow again = FullGuest("web");
  ASSERT_TRUE(InsertGuest(first).ok());
  ASSERT_TRUE(InsertGuest(second).ok());
  second.name = "web";
  for (const absl::Status& status : {InsertGuest(again), UpdateGuest(second)}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
    EXPECT_EQ(GetErrorDetail(status).reason, "GUEST_EXISTS");
    EXPECT_EQ(GetErrorDetail(status).subject, "guests/web");
  }
  EXPECT_EQ(store_->LoadGuests()->at(0).name, "db");
  EXPECT_THAT(store_->LoadGuests()->at(0).disks, SizeIs(2)) << "the failed update took the devices";
}

TEST_F(StoreTest, DeleteTakesDevicesAndKeepsHistory) {
  GuestRow guest = FullGuest("web");
  ASSERT_TRUE(InsertGuest(guest).ok());
  OperationRow operation = FullOperation("");
  operation.guest_id = guest.id;
  ASSERT_TRUE(InsertOperation(operation).ok());
  ASSERT_TRUE(AppendEvents(1).ok());
  ASSERT_TRUE(DeleteGuest(guest.id).ok());
  EXPECT_THAT(*store_->LoadGuests(), IsEmpty());
  EXPECT_TRUE(store_->FindOperation(operation.id)->has_value());
  EXPECT_THAT(*store_->ListEvents(0, 10), SizeIs(1));
  EXPECT_EQ(DeleteGuest(guest.id).code(), absl::StatusCode::kNotFound);

  const uint64_t old_id = guest.id;
  store_.reset();
  {
    auto database = Database::Open(path_, Database::Mode::kReadOnly);
    ASSERT_TRUE(database.ok()) << database.status();
    for (const char* sql : {"SELECT COUNT(*) FROM disks", "SELECT COUNT(*) FROM consoles", "SELECT COUNT(*) FROM nics",
                            "SELECT COUNT(*) FROM exits"}) {
      EXPECT_EQ((*database)->QueryInt(sql).value(), 0) << sql;
    }
  }
  Reopen();
  ASSERT_TRUE(InsertGuest(guest).ok());
  EXPECT_GT(guest.id, old_id) << "an id was used again";
}

ImageRow Image(const std::string& digest, std::vector<std::string> names) {
  return {.digest = digest,
          .path = "/" + digest,
          .size_bytes = 7,
          .mtime_ns = 9,
          .description = "d",
          .created_ns = 8,
          .names = std::move(names)};
}

TEST_F(StoreTest, ImagesInUseStay) {
  const ImageRow image = Image("sha256:1", {"debian", "debian:12"});
  ASSERT_TRUE(InsertImage(image).ok());
  EXPECT_EQ(InsertImage(image).code(), absl::StatusCode::kAlreadyExists);
  GuestRow guest = FullGuest("web1");
  guest.image = "debian";
  guest.image_digest = "sha256:1";
  GuestRow other = FullGuest("web2");
  other.image = "debian:12";
  other.image_digest = "sha256:1";
  ASSERT_TRUE(InsertGuest(guest).ok());
  ASSERT_TRUE(InsertGuest(other).ok());
  EXPECT_EQ(store_->LoadGuests()->front().image, "debian");
  EXPECT_EQ(store_->LoadGuests()->front().image_digest, "sha256:1");

  const absl::Status in_use = DeleteImage("sha256:1");
  EXPECT_EQ(in_use.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(GetErrorDetail(in_use).reason, "IMAGE_IN_USE");
  EXPECT_THAT(std::string(in_use.message()), HasSubstr("web1, web2"));

  ASSERT_TRUE(DeleteGuest(guest.id).ok());
  ASSERT_TRUE(DeleteGuest(other.id).ok());
  EXPECT_TRUE(store_->LoadImages()->front() == image);
  EXPECT_TRUE(DeleteImage("sha256:1").ok());
  EXPECT_EQ(DeleteImage("sha256:1").code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(*store_->LoadImages(), IsEmpty());
}

TEST_F(StoreTest, ADiskOverAnImagesFileNeedsIt) {
  ASSERT_TRUE(InsertImage(Image("sha256:1", {})).ok());
  GuestRow guest = FullGuest("web1");
  guest.disks[0].backing = "/sha256:1";
  ASSERT_TRUE(InsertGuest(guest).ok());
  EXPECT_EQ(GetErrorDetail(DeleteImage("sha256:1")).reason, "IMAGE_IN_USE");
}

TEST_F(StoreTest, SnapshotsKeepTheirImage) {
  ASSERT_TRUE(InsertImage(Image("sha256:1", {})).ok());
  GuestRow guest = FullGuest("web1");
  ASSERT_TRUE(InsertGuest(guest).ok());
  SnapshotRow snapshot;
  snapshot.id = 7;
  snapshot.guest_id = guest.id;
  snapshot.name = "before";
  snapshot.description = "a text";
  snapshot.created_ns = 8;
  snapshot.paused_ns = 9;
  snapshot.synced = true;
  snapshot.parent_id = 3;
  snapshot.rotates = true;
  snapshot.operation_id = 7;
  snapshot.together_ns = 6;
  snapshot.left_out = {"ubdb: read-only"};
  snapshot.disks = {{.unit = 0, .path = "/a.cow", .backing = "/sha256:1", .size_bytes = 10, .allocated_bytes = 11},
                    {.unit = 2, .path = "/c", .backing = "", .size_bytes = 12, .allocated_bytes = 13}};
  const auto insert = [&] {
    return store_->Commit([&](Transaction& transaction) { return transaction.InsertSnapshot(snapshot); });
  };
  ASSERT_TRUE(insert().ok());
  EXPECT_TRUE(*store_->LoadSnapshots() == std::vector<SnapshotRow>{snapshot});
  EXPECT_TRUE(*store_->LoadSnapshotsOf(guest.id) == std::vector<SnapshotRow>{snapshot});
  EXPECT_TRUE(store_->LoadSnapshotsOf(guest.id + 1)->empty());
  snapshot.id = 8;
  EXPECT_EQ(GetErrorDetail(insert()).reason, "SNAPSHOT_EXISTS");

  const absl::Status in_use = DeleteImage("sha256:1");
  EXPECT_EQ(GetErrorDetail(in_use).reason, "IMAGE_IN_USE");
  EXPECT_THAT(std::string(in_use.message()), HasSubstr("web1/before"));
  EXPECT_FALSE(DeleteGuest(guest.id).ok()) << "its snapshots would be nobody's";
  const auto remove = [&] {
    return store_->Commit([](Transaction& transaction) { return transaction.DeleteSnapshot(7); });
  };
  EXPECT_TRUE(remove().ok());
  EXPECT_EQ(remove().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(DeleteImage("sha256:1").ok());
  EXPECT_TRUE(DeleteGuest(guest.id).ok());
}

TEST_F(StoreTest, ADeletedSnapshotLeavesItsChildrenToItsParent) {
  GuestRow guest = FullGuest("web1");
  ASSERT_TRUE(InsertGuest(guest).ok());
  for (uint64_t id = 1; id <= 3; ++id) {
    SnapshotRow snapshot;
    snapshot.id = id;
    snapshot.guest_id = guest.id;
    snapshot.name = absl::StrCat("s", id);
    snapshot.parent_id = id - 1;
    snapshot.disks.resize(1);
    ASSERT_TRUE(store_->Commit([&](Transaction& transaction) { return transaction.InsertSnapshot(snapshot); }).ok());
  }
  guest.snapshot_id = 3;
  ASSERT_TRUE(store_->Commit([&](Transaction& transaction) { return transaction.UpdateGuest(guest); }).ok());
  const auto remove = [&](uint64_t id) {
    ASSERT_TRUE(store_->Commit([=](Transaction& transaction) { return transaction.DeleteSnapshot(id); }).ok());
  };
  const auto base_of_guest = [&] { return (*store_->LoadGuests())[0].snapshot_id; };
  remove(2);
  EXPECT_EQ((*store_->LoadSnapshots())[1].parent_id, 1U);
  EXPECT_EQ(base_of_guest(), 3U);
  remove(3);
  EXPECT_EQ(base_of_guest(), 1U);
  remove(1);
  EXPECT_EQ(base_of_guest(), 0U);
}

TEST_F(StoreTest, ImageNamesMove) {
  ASSERT_TRUE(InsertImage(Image("sha256:1", {"a", "b"})).ok());
  EXPECT_EQ(InsertImage(Image("sha256:2", {"b"})).code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(InsertImage(Image("sha256:2", {"c"})).ok());
  const auto set = [this](const char* name, const char* digest) {
    return store_->Commit([=](Transaction& transaction) { return transaction.SetImageName(name, digest); });
  };
  EXPECT_TRUE(set("b", "sha256:2").ok());
  EXPECT_EQ(set("b", "sha256:3").code(), absl::StatusCode::kNotFound);
  const auto images = store_->LoadImages();
  ASSERT_EQ(images->size(), 2u);
  EXPECT_THAT(images->at(0).names, ElementsAre("a"));
  EXPECT_THAT(images->at(1).names, ElementsAre("b", "c"));
  const auto forget = [this](const char* name) {
    return store_->Commit([=](Transaction& transaction) { return transaction.DeleteImageName(name); });
  };
  EXPECT_TRUE(forget("a").ok());
  EXPECT_EQ(forget("a").code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(store_->LoadImages()->at(0).names, IsEmpty());
}

TEST_F(StoreTest, AReplacedImageTakesNamesAndGuestsAlong) {
  ASSERT_TRUE(InsertImage(Image("tiny", {"tiny"})).ok());
  GuestRow guest = FullGuest("web1");
  guest.image = "tiny";
  guest.image_digest = "tiny";
  ASSERT_TRUE(InsertGuest(guest).ok());
  ImageRow image = Image("sha256:1", {});
  ASSERT_TRUE(store_->Commit([&](Transaction& transaction) { return transaction.ReplaceImage("tiny", image); }).ok());
  image.names = {"tiny"};
  EXPECT_THAT(*store_->LoadImages(), ElementsAre(image));
  EXPECT_EQ(store_->LoadGuests()->front().image_digest, "sha256:1");
  image.mtime_ns = 77;
  ASSERT_TRUE(
      store_->Commit([&](Transaction& transaction) { return transaction.ReplaceImage("sha256:1", image); }).ok());
  EXPECT_THAT(*store_->LoadImages(), ElementsAre(image));
}

TEST_F(StoreTest, AGuestNeedsItsImage) {
  GuestRow guest = FullGuest("web");
  guest.image = "gone";
  guest.image_digest = "sha256:0";
  const absl::Status status = InsertGuest(guest);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(GetErrorDetail(status).subject, "images/gone");
}

TEST_F(StoreTest, Volumes) {
  const VolumeRow volume = {.name = "data", .description = "d", .created_ns = 8};
  const auto insert = [&](const VolumeRow& row) {
    return store_->Commit([&](Transaction& t) { return t.InsertVolume(row); });
  };
  const auto remove = [&] { return store_->Commit([&](Transaction& t) { return t.DeleteVolume("data"); }); };
  ASSERT_TRUE(insert(volume).ok());
  EXPECT_EQ(GetErrorDetail(insert(volume)).reason, "VOLUME_EXISTS");
  ASSERT_TRUE(insert({.name = "cache", .description = ""}).ok());
  const std::vector<VolumeRow> rows = *store_->LoadVolumes();
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[0].name, "cache");
  EXPECT_TRUE(rows[1] == volume);
  EXPECT_TRUE(remove().ok());
  EXPECT_EQ(GetErrorDetail(remove()).reason, "VOLUME_NOT_FOUND");
}

TEST_F(StoreTest, KernelsInUseStay) {
  const KernelRow kernel = {
      .name = "six", .sha256 = "ab", .symbols = "cd", .modules = "ef", .description = "d", .created_ns = 8};
  const auto commit = [this](const std::function<absl::Status(Transaction&)>& body) { return store_->Commit(body); };
  const auto insert = [&](const KernelRow& row) { return commit([&](Transaction& t) { return t.InsertKernel(row); }); };
  const auto remove = [&](const char* name) { return commit([&](Transaction& t) { return t.DeleteKernel(name); }); };
  const auto choose = [&](const char* name) {
    return commit([&](Transaction& t) { return t.SetDefaultKernel(name); });
  };
  ASSERT_TRUE(insert(kernel).ok());
  EXPECT_EQ(insert(kernel).code(), absl::StatusCode::kAlreadyExists);
  KernelRow other = kernel;
  other.name = "five";
  ASSERT_TRUE(insert(other).ok());

  GuestRow guest = FullGuest("web1");
  guest.kernel = "kernels/gone";
  EXPECT_EQ(GetErrorDetail(InsertGuest(guest)).subject, "kernels/gone");
  guest.kernel = kSystemKernel;
  EXPECT_TRUE(InsertGuest(guest).ok());
  GuestRow named = FullGuest("web2");
  named.kernel = "kernels/six";
  ASSERT_TRUE(InsertGuest(named).ok());
  const absl::Status in_use = remove("six");
  EXPECT_EQ(GetErrorDetail(in_use).reason, "KERNEL_IN_USE");
  EXPECT_THAT(std::string(in_use.message()), HasSubstr("guest web2"));

  ASSERT_TRUE(choose("five").ok());
  ASSERT_TRUE(choose("six").ok());
  EXPECT_EQ(choose("gone").code(), absl::StatusCode::kNotFound);
  EXPECT_FALSE(store_->LoadKernels()->at(0).is_default) << "five";
  EXPECT_TRUE(store_->LoadKernels()->at(1).is_default) << "six: a refused change leaves the old default";
  ASSERT_TRUE(DeleteGuest(named.id).ok());
  const absl::Status is_default = remove("six");
  EXPECT_EQ(is_default.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(is_default.message()), HasSubstr("is the default"));
  ASSERT_TRUE(choose("").ok());
  EXPECT_TRUE(store_->LoadKernels()->at(1) == kernel);
  EXPECT_TRUE(remove("six").ok());
  EXPECT_EQ(remove("six").code(), absl::StatusCode::kNotFound);
}

TEST_F(StoreTest, BadValuesAreRefused) {
  GuestRow guest = FullGuest("web");
  guest.kernel_args = {"\xff"};
  EXPECT_EQ(InsertGuest(guest).code(), absl::StatusCode::kInvalidArgument);
  guest = FullGuest("web");
  guest.disks[1].unit = 16;
  EXPECT_EQ(InsertGuest(guest).code(), absl::StatusCode::kInvalidArgument);
  guest.disks[1].unit = 0;
  EXPECT_EQ(InsertGuest(guest).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(*store_->LoadGuests(), IsEmpty());
}

TEST_F(StoreTest, AnErrorOfTheBodyRollsBack) {
  const absl::Status status = store_->Commit([](Transaction& transaction) -> absl::Status {
    RETURN_IF_ERROR(transaction.InsertGuest(FullGuest("web")).status());
    RETURN_IF_ERROR(transaction.AppendEvent(Event("")).status());
    return MakeError(absl::StatusCode::kAborted, "no", {"R", "s", "h"});
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(GetErrorDetail(status).reason, "R");
  EXPECT_THAT(*store_->LoadGuests(), IsEmpty());
  EXPECT_THAT(*store_->ListEvents(0, 10), IsEmpty());
  EXPECT_TRUE(AppendEvents(1).ok());
}

TEST_F(StoreTest, AnErrorThatTheBodySwallowsRollsBackToo) {
  const absl::Status status = store_->Commit([](Transaction& transaction) {
    transaction.AppendEvent(Event("")).status().IgnoreError();
    transaction.DeleteGuest(999).IgnoreError();
    EXPECT_EQ(transaction.AppendEvent(Event("")).status().code(), absl::StatusCode::kNotFound);
    return absl::OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(*store_->ListEvents(0, 10), IsEmpty());
}

TEST_F(StoreTest, OperationsComeBackWhole) {
  OperationRow operation = FullOperation("req-1");
  ASSERT_TRUE(InsertOperation(operation).ok());
  ASSERT_THAT(*store_->LoadUnfinishedOperations(), SizeIs(1));
  EXPECT_TRUE(store_->LoadUnfinishedOperations()->front() == operation);

  operation.done = true;
  operation.code = absl::StatusCode::kUnauthenticated;
  operation.message = "other";
  operation.ended_ns = 9;
  ASSERT_TRUE(store_->Commit([&](Transaction& t) { return t.UpdateOperation(operation); }).ok());
  EXPECT_THAT(*store_->LoadUnfinishedOperations(), IsEmpty());
  EXPECT_TRUE(**store_->FindOperation(operation.id) == operation);
  EXPECT_TRUE(**store_->FindOperationByRequestId("req-1") == operation);
  EXPECT_FALSE(store_->FindOperation(99)->has_value());
  EXPECT_FALSE(store_->FindOperationByRequestId("req-2")->has_value());

  operation.id = 99;
  operation.request_id = "";
  EXPECT_EQ(store_->Commit([&](Transaction& t) { return t.UpdateOperation(operation); }).code(),
            absl::StatusCode::kNotFound);
}

TEST_F(StoreTest, ARequestIdHasOneOperation) {
  OperationRow first = FullOperation("req");
  OperationRow second = FullOperation("req");
  ASSERT_TRUE(InsertOperation(first).ok());
  const absl::Status status = InsertOperation(second);
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(GetErrorDetail(status).reason, "REQUEST_ID_TAKEN");
  EXPECT_EQ(GetErrorDetail(status).subject, absl::StrCat("operations/", first.id));
  OperationRow none = FullOperation("");
  ASSERT_TRUE(InsertOperation(none).ok());
  ASSERT_TRUE(InsertOperation(none).ok()) << "no request_id is not a request_id";
  EXPECT_FALSE(store_->FindOperationByRequestId("")->has_value());
}

TEST_F(StoreTest, ListOperationsPages) {
  std::vector<uint64_t> ids;
  for (int i = 0; i < 5; ++i) {
    OperationRow operation = FullOperation("");
    operation.done = i % 2 == 0;
    ASSERT_TRUE(InsertOperation(operation).ok());
    ids.push_back(operation.id);
  }
  const auto list = [&](uint64_t before, int limit, bool unfinished) {
    std::vector<uint64_t> found;
    const auto operations = store_->ListOperations(before, limit, unfinished);
    for (const OperationRow& operation : *operations) found.push_back(operation.id);
    return found;
  };
  EXPECT_THAT(list(0, 2, false), testing::ElementsAre(ids[4], ids[3]));
  EXPECT_THAT(list(ids[3], 2, false), testing::ElementsAre(ids[2], ids[1]));
  EXPECT_THAT(list(0, 9, true), testing::ElementsAre(ids[3], ids[1]));
  EXPECT_THAT(list(UINT64_MAX, 9, false), SizeIs(5));
  EXPECT_THAT(list(0, 0, false), IsEmpty());
  EXPECT_THAT(list(0, -1, false), IsEmpty());
}

TEST_F(StoreTest, EventsAreRangedAndPruned) {
  ASSERT_TRUE(AppendEvents(10).ok());
  EXPECT_EQ(*store_->EventRange(), std::make_pair(uint64_t{1}, uint64_t{10}));
  const auto some = store_->ListEvents(3, 2);
  ASSERT_THAT(*some, SizeIs(2));
  EventRow fourth = Event("3");
  fourth.sequence = 4;
  EXPECT_TRUE(some->at(0) == fourth);
  EXPECT_EQ(some->at(1).sequence, 5u);
  EXPECT_THAT(*store_->ListEvents(UINT64_MAX, 10), IsEmpty());

  ASSERT_TRUE(store_->Prune(4, 0).ok());
  EXPECT_EQ(*store_->EventRange(), std::make_pair(uint64_t{7}, uint64_t{10}));
  ASSERT_TRUE(store_->Prune(UINT64_MAX, 0).ok());
  EXPECT_THAT(*store_->ListEvents(0, 10), SizeIs(4));
  ASSERT_TRUE(store_->Prune(0, 0).ok());
  EXPECT_EQ(*store_->EventRange(), std::make_pair(uint64_t{0}, uint64_t{0}));
  Reopen();
  ASSERT_TRUE(AppendEvents(1).ok());
  EXPECT_EQ(*store_->EventRange(), std::make_pair(uint64_t{11}, uint64_t{11})) << "a sequence was used again";
}

TEST_F(StoreTest, AGuestThatMakesManyEventsPushesOutItsOwn) {
  ASSERT_TRUE(AppendEventsOf("guests/quiet", 1).ok());
  ASSERT_TRUE(AppendEventsOf("guests/noisy", 50).ok());
  ASSERT_TRUE(AppendEventsOf("guests/quiet/disks/ubdb", 1).ok());
  ASSERT_TRUE(AppendEventsOf("guests/noisy/disks/ubdb", 50).ok());
  ASSERT_TRUE(AppendEventsOf("guests/quiet", 1).ok());
  ASSERT_TRUE(store_->Prune(20, 0).ok());
  std::vector<uint64_t> kept;
  const auto events = store_->ListEvents(0, 200);
  for (const EventRow& event : *events) kept.push_back(event.sequence);
  std::vector<uint64_t> expected = {1, 52};
  for (uint64_t sequence = 86; sequence <= 103; ++sequence) expected.push_back(sequence);
  EXPECT_EQ(kept, expected);
  // Alone it may have all there is.
  ASSERT_TRUE(AppendEventsOf("guests/noisy", 1).ok());
  ASSERT_TRUE(store_->Prune(21, 0).ok());
  EXPECT_THAT(*store_->ListEvents(0, 200), SizeIs(21));
}

// What an earlier umld has let grow without end.
TEST_F(StoreTest, OfVeryManyEventsTheOldestGoAtOnce) {
  ASSERT_TRUE(AppendEventsOf("guests/quiet", 1).ok());
  ASSERT_TRUE(AppendEventsOf("guests/noisy", 300).ok());
  ASSERT_TRUE(AppendEventsOf("guests/quiet", 1).ok());
  ASSERT_TRUE(store_->Prune(10, 0).ok());
  const auto events = store_->ListEvents(0, 200);
  ASSERT_THAT(*events, SizeIs(10));
  EXPECT_EQ(events->front().sequence, 293u);
  EXPECT_EQ(events->back().subject, "guests/quiet");
}

TEST_F(StoreTest, EventsOfManyGuestsGoOldestFirst) {
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(AppendEventsOf(absl::StrCat("guests/gone", i), 1).ok());
  ASSERT_TRUE(store_->Prune(10, 0).ok());
  EXPECT_EQ(*store_->EventRange(), std::make_pair(uint64_t{21}, uint64_t{30}));
  EXPECT_THAT(*store_->ListEvents(0, 200), SizeIs(10));
}

// However many others there are, a guest may have a hundredth of all.
TEST_F(StoreTest, GuestsThatAreGoneDoNotCrowdOutTheOthers) {
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(AppendEventsOf(absl::StrCat("guests/gone", i), 1).ok());
  ASSERT_TRUE(AppendEventsOf("guests/here", 5).ok());
  ASSERT_TRUE(store_->Prune(200, 0).ok());
  const auto events = store_->ListEvents(0, 300);
  ASSERT_THAT(*events, SizeIs(200));
  EXPECT_EQ(events->front().sequence, 3u);
  EXPECT_EQ(events->at(197).subject, "guests/gone199");
  EXPECT_EQ(events->at(198).sequence, 204u);
  EXPECT_EQ(events->at(199).sequence, 205u);
}

TEST_F(StoreTest, PruneDropsOldDoneOperations) {
  OperationRow old_done = FullOperation("");
  old_done.done = true;
  old_done.ended_ns = 10;
  OperationRow new_done = old_done;
  new_done.ended_ns = 20;
  OperationRow old_open = FullOperation("");
  old_open.ended_ns = 0;
  for (OperationRow* operation : {&old_done, &new_done, &old_open}) ASSERT_TRUE(InsertOperation(*operation).ok());
  ASSERT_TRUE(store_->Prune(0, 20).ok());
  EXPECT_FALSE(store_->FindOperation(old_done.id)->has_value());
  EXPECT_TRUE(store_->FindOperation(new_done.id)->has_value());
  EXPECT_TRUE(store_->FindOperation(old_open.id)->has_value());
}

TEST_F(StoreTest, ReadsGoOnDuringACommit) {
  ASSERT_TRUE(AppendEvents(1).ok());
  const absl::Status status = store_->Commit([&](Transaction& transaction) -> absl::Status {
    RETURN_IF_ERROR(transaction.AppendEvent(Event("")).status());
    // Still inside the commit: neither blocks nor sees it.
    EXPECT_THAT(*store_->ListEvents(0, 10), SizeIs(1));
    EXPECT_TRUE(store_->Ping().ok());
    return absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(*store_->ListEvents(0, 10), SizeIs(2));
}

TEST_F(StoreTest, ThreadsCommitAndReadAtOnce) {
  constexpr int kEach = 50;
  const auto commit = [&](const std::string& prefix) {
    for (int i = 0; i < kEach; ++i) {
      GuestRow guest = FullGuest(absl::StrCat(prefix, i));
      EXPECT_TRUE(InsertGuest(guest).ok());
      EXPECT_TRUE(AppendEvents(1).ok());
    }
  };
  std::thread first(commit, "a");
  std::thread second(commit, "b");
  for (size_t seen = 0; seen < size_t{2} * kEach;) {
    const auto guests = store_->LoadGuests();
    ASSERT_TRUE(guests.ok()) << guests.status();
    ASSERT_GE(guests->size(), seen);
    seen = guests->size();
    for (const GuestRow& guest : *guests) ASSERT_THAT(guest.disks, SizeIs(2)) << "half a commit was read";
  }
  first.join();
  second.join();
  EXPECT_EQ(*store_->EventRange(), std::make_pair(uint64_t{1}, uint64_t{2} * kEach));
}

}  // namespace
}  // namespace umld::state
