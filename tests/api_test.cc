// The API as any client sees it: generated stubs over the socket, and the standard services by their wire format.
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "tests/shared_host.h"
#include "umld/v1/services.grpc.pb.h"

namespace umld::tests {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class Api : public SharedHost {
 protected:
  void SetUp() override {
    SharedHost::SetUp();
    host_->BuildTiny();
    channel_ = grpc::CreateChannel("unix:" + host_->socket(), grpc::InsecureChannelCredentials());
    guests_ = v1::Guests::NewStub(channel_);
    operations_ = v1::Operations::NewStub(channel_);
    events_ = v1::Events::NewStub(channel_);
  }

  // A call with a deadline that nothing here needs.
  template <typename Stub, typename Method, typename Request, typename Response>
  static grpc::Status Call(Stub& stub, Method method, const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
    return (stub.*method)(&context, request, response);
  }

  grpc::Status Create(const std::string& name, const std::string& request_id, v1::Guest* guest) {
    v1::CreateGuestRequest request;
    if (!name.empty()) request.mutable_guest()->set_name("guests/" + name);
    request.mutable_guest()->set_image("images/tiny");
    request.mutable_guest()->set_memory_bytes(uint64_t{64} << 20);
    request.set_request_id(request_id);
    return Call(*guests_, &v1::Guests::Stub::CreateGuest, request, guest);
  }
  v1::Guest Get(const std::string& name) {
    v1::GetGuestRequest request;
    request.set_name("guests/" + name);
    v1::Guest guest;
    EXPECT_TRUE(Call(*guests_, &v1::Guests::Stub::GetGuest, request, &guest).ok());
    return guest;
  }
  v1::Operation Done(const v1::Operation& operation) {
    v1::WaitOperationRequest request;
    request.set_name(operation.name());
    request.mutable_timeout()->set_seconds(60);
    v1::Operation done;
    EXPECT_TRUE(Call(*operations_, &v1::Operations::Stub::WaitOperation, request, &done).ok());
    EXPECT_TRUE(done.done()) << done.ShortDebugString();
    return done;
  }

  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Guests::Stub> guests_;
  std::unique_ptr<v1::Operations::Stub> operations_;
  std::unique_ptr<v1::Events::Stub> events_;
};

google::rpc::ErrorInfo InfoOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  EXPECT_TRUE(details.ParseFromString(status.error_details())) << status.error_message();
  EXPECT_EQ(details.code(), status.error_code());
  EXPECT_EQ(details.message(), status.error_message());
  EXPECT_EQ(details.details_size(), 1);
  if (details.details_size() > 0) {
    EXPECT_TRUE(details.details(0).UnpackTo(&info));
  }
  return info;
}

TEST_F(Api, ListsInPages) {
  std::vector<std::string> names;
  for (const char* name : {"g7", "g1", "g5", "g3", "g2", "g6", "g4"}) {
    v1::Guest guest;
    ASSERT_TRUE(Create(name, "", &guest).ok());
    EXPECT_EQ(guest.name(), absl::StrCat("guests/", name));
    EXPECT_EQ(guest.state(), v1::STOPPED);
  }
  v1::ListGuestsRequest request;
  std::vector<int> sizes;
  do {
    v1::ListGuestsResponse response;
    request.set_page_size(3);
    ASSERT_TRUE(Call(*guests_, &v1::Guests::Stub::ListGuests, request, &response).ok());
    for (const v1::Guest& guest : response.guests()) names.push_back(guest.name());
    sizes.push_back(response.guests_size());
    // A guest that comes into what has been read disturbs nothing.
    v1::Guest late;
    if (sizes.size() == 1) {
      ASSERT_TRUE(Create("a-late-one", "", &late).ok());
    }
    request.set_page_token(response.next_page_token());
  } while (!request.page_token().empty() && sizes.size() < 10);
  EXPECT_THAT(sizes, ElementsAre(3, 3, 1));
  EXPECT_THAT(names,
              ElementsAre("guests/g1", "guests/g2", "guests/g3", "guests/g4", "guests/g5", "guests/g6", "guests/g7"));
  request.set_page_token("not a token!");
  v1::ListGuestsResponse response;
  const grpc::Status refused = Call(*guests_, &v1::Guests::Stub::ListGuests, request, &response);
  EXPECT_EQ(refused.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_EQ(InfoOf(refused).reason(), "INVALID_PAGE_TOKEN");
}

TEST_F(Api, APageIsNeverMoreThanAThousand) {
  for (int i = 0; i <= 1000; ++i) {
    v1::Guest guest;
    ASSERT_TRUE(Create(absl::StrCat("g", i), "", &guest).ok());
  }
  v1::ListGuestsRequest request;
  request.set_page_size(UINT32_MAX);
  v1::ListGuestsResponse response;
  ASSERT_TRUE(Call(*guests_, &v1::Guests::Stub::ListGuests, request, &response).ok());
  EXPECT_EQ(response.guests_size(), 1000);
  EXPECT_NE(response.next_page_token(), "");
}

TEST_F(Api, ASummaryIsWhatATableShows) {
  ASSERT_TRUE(Ok(host_->Shell("truncate -s 1M data.img")));
  ASSERT_TRUE(Ok(host_->Run({"create", "g1", "--disk", "ubdb=data.img", "--arg", "quiet", "--label", "lab=net1"})));
  v1::ListGuestsRequest request;
  v1::ListGuestsResponse whole, summary;
  ASSERT_TRUE(Call(*guests_, &v1::Guests::Stub::ListGuests, request, &whole).ok());
  request.set_summary(true);
  ASSERT_TRUE(Call(*guests_, &v1::Guests::Stub::ListGuests, request, &summary).ok());
  ASSERT_EQ(whole.guests_size(), 1);
  ASSERT_EQ(summary.guests_size(), 1);
  v1::Guest expected = whole.guests(0);
  EXPECT_EQ(expected.consoles_size(), 2);
  EXPECT_EQ(expected.kernel_args_size(), 1);
  expected.clear_consoles();
  expected.clear_kernel_args();
  v1::Disk name;
  name.set_name("guests/g1/disks/ubdb");
  ASSERT_EQ(expected.disks_size(), 1);
  *expected.mutable_disks(0) = name;
  EXPECT_EQ(summary.guests(0).DebugString(), expected.DebugString());
}

TEST_F(Api, ErrorsCarryReasonSubjectAndHint) {
  v1::GetGuestRequest request;
  request.set_name("guests/nobody");
  v1::Guest guest;
  const grpc::Status status = Call(*guests_, &v1::Guests::Stub::GetGuest, request, &guest);
  EXPECT_EQ(status.error_code(), grpc::NOT_FOUND);
  const google::rpc::ErrorInfo info = InfoOf(status);
  EXPECT_EQ(info.reason(), "GUEST_NOT_FOUND");
  EXPECT_EQ(info.domain(), "umld");
  EXPECT_EQ(info.metadata().at("subject"), "guests/nobody");
  EXPECT_THAT(info.metadata().at("hint"), HasSubstr("umlctl list"));

  ASSERT_TRUE(Create("web1", "", &guest).ok());
  const grpc::Status taken = Create("web1", "", &guest);
  EXPECT_EQ(taken.error_code(), grpc::ALREADY_EXISTS);
  EXPECT_EQ(InfoOf(taken).reason(), "GUEST_EXISTS");
  v1::PlugDeviceRequest plug;
  plug.set_guest("guests/web1");
  v1::Device device;
  for (const std::string& spec : {std::string("ubdb=relative"), std::string("ubdq=/x"), std::string(),
                                  std::string("ubdb="), std::string("ubdb=/a\nb"), std::string(4000, 'u')}) {
    plug.set_spec(spec);
    const grpc::Status wrong = Call(*guests_, &v1::Guests::Stub::PlugDevice, plug, &device);
    EXPECT_EQ(wrong.error_code(), grpc::INVALID_ARGUMENT) << spec << ": " << wrong.error_message();
    EXPECT_NE(InfoOf(wrong).metadata().at("hint"), "");
  }
}

TEST_F(Api, AnOldEtagIsAborted) {
  v1::Guest guest;
  ASSERT_TRUE(Create("web1", "", &guest).ok());
  v1::UpdateGuestRequest update;
  *update.mutable_guest() = guest;
  update.mutable_guest()->set_description("first");
  update.mutable_update_mask()->add_paths("description");
  v1::Guest updated;
  ASSERT_TRUE(Call(*guests_, &v1::Guests::Stub::UpdateGuest, update, &updated).ok());
  EXPECT_EQ(updated.description(), "first");
  EXPECT_NE(updated.etag(), guest.etag());
  // The same again has the etag of before.
  update.mutable_guest()->set_description("second");
  const grpc::Status stale = Call(*guests_, &v1::Guests::Stub::UpdateGuest, update, &updated);
  EXPECT_EQ(stale.error_code(), grpc::ABORTED);
  EXPECT_EQ(InfoOf(stale).reason(), "ETAG_MISMATCH");
  EXPECT_EQ(Get("web1").description(), "first");
  update.mutable_guest()->clear_etag();
  EXPECT_TRUE(Call(*guests_, &v1::Guests::Stub::UpdateGuest, update, &updated).ok());
  v1::DeleteGuestRequest remove;
  remove.set_name("guests/web1");
  remove.set_etag(guest.etag());
  v1::DeleteGuestResponse nothing;
  EXPECT_EQ(Call(*guests_, &v1::Guests::Stub::DeleteGuest, remove, &nothing).error_code(), grpc::ABORTED);
  remove.set_etag(Get("web1").etag());
  EXPECT_TRUE(Call(*guests_, &v1::Guests::Stub::DeleteGuest, remove, &nothing).ok());
}

TEST_F(Api, OnlyWhatCanBeUpdatedIs) {
  v1::Guest guest, updated;
  ASSERT_TRUE(Create("web1", "", &guest).ok());
  const std::string before = Get("web1").SerializeAsString();
  for (const char* path : {"name", "image", "state", "nonsense", "disks"}) {
    v1::UpdateGuestRequest update;
    update.mutable_guest()->set_name("guests/web1");
    update.mutable_update_mask()->add_paths(path);
    EXPECT_EQ(Call(*guests_, &v1::Guests::Stub::UpdateGuest, update, &updated).error_code(), grpc::INVALID_ARGUMENT)
        << path;
  }
  EXPECT_EQ(Get("web1").SerializeAsString(), before);
}

TEST_F(Api, ARequestIdMakesARetrySafe) {
  v1::Guest first, second;
  ASSERT_TRUE(Create("", "create-1", &first).ok());
  ASSERT_TRUE(Create("", "create-1", &second).ok());
  EXPECT_EQ(first.name(), second.name());
  EXPECT_EQ(host_->Names().size(), 1u);

  v1::StartGuestRequest start;
  start.set_name(first.name());
  start.set_request_id("start-1");
  v1::Operation one, two;
  ASSERT_TRUE(Call(*guests_, &v1::Guests::Stub::StartGuest, start, &one).ok());
  ASSERT_TRUE(Call(*guests_, &v1::Guests::Stub::StartGuest, start, &two).ok());
  EXPECT_EQ(one.name(), two.name());
  EXPECT_FALSE(Done(one).has_error());
  // Long after, and after a kill of umld: still the first one's answer, and not "running already".
  host_->Kill9();
  ASSERT_TRUE(host_->Start());
  ASSERT_TRUE(WaitFor([&] { return Call(*guests_, &v1::Guests::Stub::StartGuest, start, &two).ok(); }));
  EXPECT_EQ(one.name(), two.name());
  EXPECT_TRUE(two.done());
  EXPECT_FALSE(two.has_error());

  ASSERT_TRUE(Ok(host_->Shell("truncate -s 4M disk.img")));
  v1::PlugDeviceRequest plug;
  plug.set_guest(first.name());
  plug.set_spec("ubdb=" + host_->Work("disk.img"));
  plug.set_request_id("plug-1");
  v1::Device device;
  ASSERT_TRUE(Call(*guests_, &v1::Guests::Stub::PlugDevice, plug, &device).ok());
  EXPECT_EQ(device.spec(), host_->Work("disk.img"));
  EXPECT_EQ(device.name(), first.name() + "/disks/ubdb");
  ASSERT_TRUE(Call(*guests_, &v1::Guests::Stub::PlugDevice, plug, &device).ok());
  EXPECT_EQ(device.spec(), host_->Work("disk.img"));
  plug.clear_request_id();
  EXPECT_EQ(Call(*guests_, &v1::Guests::Stub::PlugDevice, plug, &device).error_code(), grpc::ALREADY_EXISTS);

  v1::StopGuestRequest stop;
  stop.set_name(first.name());
  stop.set_request_id("stop-1");
  stop.mutable_policy()->set_now(true);
  ASSERT_TRUE(Call(*guests_, &v1::Guests::Stub::StopGuest, stop, &one).ok());
  EXPECT_FALSE(Done(one).has_error());
  ASSERT_TRUE(Call(*guests_, &v1::Guests::Stub::StopGuest, stop, &two).ok());
  EXPECT_EQ(one.name(), two.name());
}

TEST_F(Api, OperationsSayHowTheyEnd) {
  v1::CreateGuestRequest create;
  create.mutable_guest()->set_name("guests/bare");
  create.mutable_guest()->set_memory_bytes(uint64_t{64} << 20);
  create.mutable_guest()->add_kernel_args("init=/nope");
  create.mutable_guest()->set_kernel("/usr/bin/linux.uml");
  v1::Guest guest;
  ASSERT_TRUE(Call(*guests_, &v1::Guests::Stub::CreateGuest, create, &guest).ok());
  v1::StopGuestRequest stop;
  stop.set_name("guests/bare");
  v1::Operation operation;
  // Wrong from the beginning or at the end: either way it is FAILED_PRECONDITION.
  const grpc::Status status = Call(*guests_, &v1::Guests::Stub::StopGuest, stop, &operation);
  if (status.ok()) {
    operation = Done(operation);
    EXPECT_EQ(operation.error().code(), grpc::FAILED_PRECONDITION);
    EXPECT_EQ(operation.error().reason(), "NOT_RUNNING");
    EXPECT_EQ(operation.error().subject(), "guests/bare");
    EXPECT_NE(operation.error().hint(), "");
    v1::GetOperationRequest get;
    get.set_name(operation.name());
    v1::Operation again;
    ASSERT_TRUE(Call(*operations_, &v1::Operations::Stub::GetOperation, get, &again).ok());
    EXPECT_EQ(again.SerializeAsString(), operation.SerializeAsString());
  } else {
    EXPECT_EQ(status.error_code(), grpc::FAILED_PRECONDITION);
  }
  v1::ListOperationsRequest list;
  v1::ListOperationsResponse listed;
  list.set_unfinished_only(true);
  ASSERT_TRUE(Call(*operations_, &v1::Operations::Stub::ListOperations, list, &listed).ok());
  EXPECT_EQ(listed.operations_size(), 0);
  v1::GetOperationRequest get;
  get.set_name("operations/999999");
  EXPECT_EQ(Call(*operations_, &v1::Operations::Stub::GetOperation, get, &operation).error_code(), grpc::NOT_FOUND);
}

TEST_F(Api, WatchGivesASnapshotThenEventsAndResumesWhereItWas) {
  v1::Guest guest;
  ASSERT_TRUE(Create("one", "", &guest).ok());
  ASSERT_TRUE(Create("two", "", &guest).ok());
  std::string token;
  {
    grpc::ClientContext context;
    auto stream = events_->Watch(&context, v1::WatchRequest());
    v1::WatchResponse response;
    std::set<std::string> names;
    bool done = false;
    while (!done && stream->Read(&response)) {
      EXPECT_FALSE(response.has_event()) << "an event before the snapshot is complete";
      for (const v1::Guest& seen : response.snapshot()) names.insert(seen.name());
      done = response.snapshot_done();
    }
    EXPECT_TRUE(done);
    EXPECT_THAT(names, ElementsAre("guests/one", "guests/two"));
    ASSERT_TRUE(Create("three", "", &guest).ok());
    ASSERT_TRUE(stream->Read(&response));
    EXPECT_EQ(response.event().type(), "guest.created");
    EXPECT_EQ(response.event().subject(), "guests/three");
    token = response.resume_token();
    EXPECT_NE(token, "");
    context.TryCancel();
    stream->Finish();
  }
  // Missed meanwhile, with a restart in between.
  ASSERT_TRUE(Create("four", "", &guest).ok());
  host_->Kill9();
  ASSERT_TRUE(host_->Start());
  ASSERT_TRUE(Ok(host_->Run({"delete", "one"})));
  // A channel may give one more call to the umld that is gone.
  ASSERT_TRUE(WaitFor([&] {
    v1::ListGuestsResponse listed;
    return Call(*guests_, &v1::Guests::Stub::ListGuests, v1::ListGuestsRequest(), &listed).ok();
  }));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(60));
  context.set_wait_for_ready(true);
  v1::WatchRequest resume;
  resume.set_resume_token(token);
  auto stream = events_->Watch(&context, resume);
  std::vector<std::string> missed;
  uint64_t last = 0;
  v1::WatchResponse response;
  while (missed.empty() || missed.back() != "guest.deleted guests/one") {
    ASSERT_TRUE(stream->Read(&response)) << testing::PrintToString(missed);
    EXPECT_EQ(response.snapshot_size(), 0) << "a resumed watch begins with events";
    if (!response.has_event()) continue;
    EXPECT_GT(response.event().sequence(), last);
    last = response.event().sequence();
    missed.push_back(absl::StrCat(response.event().type(), " ", response.event().subject()));
  }
  std::erase_if(missed, [](const std::string& event) { return absl::StrContains(event, "daemon."); });
  EXPECT_THAT(missed, ElementsAre("guest.created guests/four", "guest.deleted guests/one"));
  context.TryCancel();
  stream->Finish();

  for (const char* wrong : {"18446744073709551615", "not a number", "-1"}) {
    grpc::ClientContext refused;
    v1::WatchRequest request;
    request.set_resume_token(wrong);
    auto nothing = events_->Watch(&refused, request);
    EXPECT_FALSE(nothing->Read(&response)) << wrong;
    EXPECT_EQ(nothing->Finish().error_code(), grpc::OUT_OF_RANGE) << wrong;
  }
}

// One call of a service that has no stub here, by its bytes.
std::string RawCall(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                    const std::string& request, grpc::Status* status) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  grpc::CompletionQueue queue;
  void* tag = nullptr;
  bool ok = false;
  auto step = [&] { return queue.Next(&tag, &ok) && ok; };
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> call = stub.PrepareCall(&context, method, &queue);
  call->StartCall(nullptr);
  step();
  const grpc::Slice bytes(request);
  call->Write(grpc::ByteBuffer(&bytes, 1), nullptr);
  step();
  grpc::ByteBuffer answer;
  call->Read(&answer, nullptr);
  std::string text;
  if (step()) {
    std::vector<grpc::Slice> slices;
    if (answer.Dump(&slices).ok()) {
      for (const grpc::Slice& slice : slices) {
        text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
      }
    }
  }
  call->WritesDone(nullptr);
  step();
  call->Finish(status, nullptr);
  step();
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  return text;
}

TEST_F(Api, HealthAndReflectionAreOn) {
  grpc::Status status;
  // HealthCheckResponse{status: SERVING}, for the whole server.
  EXPECT_EQ(RawCall(channel_, "/grpc.health.v1.Health/Check", "", &status), "\x08\x01");
  EXPECT_TRUE(status.ok()) << status.error_message();
  // ServerReflectionRequest{list_services: "*"}
  const std::string services =
      RawCall(channel_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "\x3a\x01*", &status);
  for (const char* service :
       {"umld.v1.Guests", "umld.v1.Consoles", "umld.v1.Images", "umld.v1.Volumes", "umld.v1.Clones",
        "umld.v1.Operations", "umld.v1.Events", "umld.v1.Host", "grpc.health.v1.Health"}) {
    EXPECT_THAT(services, HasSubstr(service));
  }
  // ServerReflectionRequest{file_containing_symbol: "umld.v1.Guests"}: what grpcurl asks first.
  const std::string symbol = "umld.v1.Guests";
  EXPECT_THAT(RawCall(channel_, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                      "\x22" + std::string(1, static_cast<char>(symbol.size())) + symbol, &status),
              AllOf(HasSubstr("umld/v1/services.proto"), HasSubstr("PlugDevice")));
}

TEST_F(Api, NonsenseOnTheWireHarmsNobody) {
  grpc::Status status;
  RawCall(channel_, "/umld.v1.Guests/CreateGuest", "\xff\xff\xff\xff garbage", &status);
  EXPECT_FALSE(status.ok());
  RawCall(channel_, "/umld.v1.Guests/NoSuchMethod", "", &status);
  EXPECT_EQ(status.error_code(), grpc::UNIMPLEMENTED);
  // More than a message may have.
  v1::CreateGuestRequest request;
  request.mutable_guest()->set_description(std::string(6 << 20, 'x'));
  v1::Guest guest;
  EXPECT_EQ(Call(*guests_, &v1::Guests::Stub::CreateGuest, request, &guest).error_code(), grpc::RESOURCE_EXHAUSTED);
  ASSERT_TRUE(Ok(
      host_->Shell("head -c 100000 /dev/urandom | timeout 5 socat -u - UNIX-CONNECT:" + host_->socket() + "; true")));
  ASSERT_TRUE(Create("web1", "", &guest).ok());
  EXPECT_THAT(host_->Names(), ElementsAre("web1"));
}

// What one request may cost others.
TEST_F(Api, RequestsHaveBounds) {
  v1::Guest guest;
  ASSERT_TRUE(Create("web1", "", &guest).ok());
  const auto refused = [](const grpc::Status& status, const std::string& reason) {
    EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT) << status.error_message();
    EXPECT_EQ(InfoOf(status).reason(), reason);
  };
  v1::UpdateGuestRequest update;
  update.mutable_guest()->set_name("guests/web1");
  update.mutable_update_mask()->add_paths("description");
  // Cut in the middle of a character it would be unreadable to all who list it.
  update.mutable_guest()->set_description(std::string(4095, 'x') + "\xc3\xa9");
  refused(Call(*guests_, &v1::Guests::Stub::UpdateGuest, update, &guest), "INVALID_DESCRIPTION");
  update.mutable_guest()->set_description(std::string(4094, 'x') + "\xc3\xa9");
  EXPECT_TRUE(Call(*guests_, &v1::Guests::Stub::UpdateGuest, update, &guest).ok());
  update.mutable_update_mask()->add_paths("description");
  refused(Call(*guests_, &v1::Guests::Stub::UpdateGuest, update, &guest), "INVALID_UPDATE_MASK");

  v1::ListGuestsRequest list;
  v1::ListGuestsResponse listed;
  for (int i = 0; i < 2000; ++i) list.set_label_selector(list.label_selector() + (i > 0 ? ",!a" : "!a"));
  refused(Call(*guests_, &v1::Guests::Stub::ListGuests, list, &listed), "INVALID_LABEL_SELECTOR");
  list.set_label_selector("!a,!b");
  EXPECT_TRUE(Call(*guests_, &v1::Guests::Stub::ListGuests, list, &listed).ok());
  EXPECT_EQ(listed.guests_size(), 1);

  v1::ListGuestStatsRequest stats;
  v1::ListGuestStatsResponse numbers;
  for (int i = 0; i < 1001; ++i) stats.add_names("guests/web1");
  refused(Call(*guests_, &v1::Guests::Stub::ListGuestStats, stats, &numbers), "TOO_MANY_NAMES");

  // What an operation is to do is kept, also what this umld knows no name for.
  v1::StopGuestRequest stop;
  stop.set_name("guests/web1");
  v1::StopPolicy* const policy = stop.mutable_policy();
  constexpr int kUnknown = 1000;
  policy->GetReflection()->MutableUnknownFields(policy)->AddLengthDelimited(kUnknown, std::string(100'000, 'x'));
  v1::Operation operation;
  refused(Call(*guests_, &v1::Guests::Stub::StopGuest, stop, &operation), "REQUEST_TOO_LARGE");
}

// A few bytes that become all that a message may have, and more before anybody sees that.
TEST_F(Api, WhatIsPackedIsNotUnpacked) {
  v1::CreateGuestRequest request;
  request.mutable_guest()->set_name("guests/web1");
  request.mutable_guest()->set_description(std::string(4000, 'x'));
  v1::Guest guest;
  grpc::ClientContext context;
  context.set_compression_algorithm(GRPC_COMPRESS_GZIP);
  EXPECT_EQ(guests_->CreateGuest(&context, request, &guest).error_code(), grpc::UNIMPLEMENTED);
  EXPECT_TRUE(Call(*guests_, &v1::Guests::Stub::CreateGuest, request, &guest).ok());
}

TEST_F(Api, TheSocketIsItsUsersAlone) {
  EXPECT_EQ(host_->Shell("stat -c '%a %u' " + host_->socket()).out, absl::StrCat("600 ", getuid(), "\n"));
}

}  // namespace
}  // namespace umld::tests
