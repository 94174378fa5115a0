#ifndef UMLD_VMCORE_E2E_REQUESTS_H_
#define UMLD_VMCORE_E2E_REQUESTS_H_

#include <chrono>
#include <filesystem>
#include <set>
#include <string>

#include "gtest/gtest.h"
#include "vmcore/e2e_rig.h"
#include "vmcore/vmcore.pb.h"

namespace umld::vmcore {

// For tests: the requests of the private protocol in a word each, and what is expected of every guest's end.

inline v1::Facts GetFacts(RigClient& client) {
  v1::Request request;
  request.mutable_get_facts();
  return client.Ask(request).facts();
}

inline v1::Request StopRequest(bool now) {
  v1::Request request;
  request.mutable_stop()->set_skip_orderly(now);
  return request;
}

inline v1::Request KillRequest() {
  v1::Request request;
  request.mutable_kill();
  return request;
}

inline v1::Request PauseRequest() {
  v1::Request request;
  request.mutable_pause();
  return request;
}

inline v1::Request ResumeRequest() {
  v1::Request request;
  request.mutable_resume();
  return request;
}

inline v1::Request PlugRequest(uint32_t unit, const std::string& path, bool live_only = false) {
  v1::Request request;
  request.mutable_plug_disk()->mutable_disk()->set_unit(unit);
  request.mutable_plug_disk()->mutable_disk()->set_path(path);
  request.mutable_plug_disk()->set_live_only(live_only);
  request.mutable_plug_disk()->set_etag(7);
  return request;
}

inline v1::Request UnplugRequest(uint32_t unit, bool live_only = false) {
  v1::Request request;
  request.mutable_unplug_disk()->set_unit(unit);
  request.mutable_unplug_disk()->set_live_only(live_only);
  request.mutable_unplug_disk()->set_etag(8);
  return request;
}

inline v1::Request MconsoleRequest(const std::string& command) {
  v1::Request request;
  request.mutable_mconsole()->set_command(command);
  return request;
}

// The guest is gone: vmcore left with code 0, the record is there, and no socket, process or folder of it.
inline void ExpectCleanEnd(Rig& rig, v1::Exit::Kind kind) {
  ASSERT_TRUE(rig.WaitForVmcore(std::chrono::seconds(40)));
  EXPECT_EQ(rig.vmcore_status(), 0);
  auto record = rig.ReadExit();
  ASSERT_TRUE(record.has_value());
  EXPECT_EQ(record->kind(), kind) << record->reason();
  std::set<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(rig.run_dir())) files.insert(entry.path().filename());
  EXPECT_EQ(files, (std::set<std::string>{"exit", "launch", "status"}));
  EXPECT_TRUE(rig.NothingLeft(std::chrono::milliseconds(0)));
}

inline bool WaitForReboot(RigClient& client, bool by_guest) {
  return client
             .WaitForEvent(
                 [by_guest](const v1::Event& e) { return e.has_rebooted() && e.rebooted().by_guest() == by_guest; },
                 std::chrono::seconds(30))
             .has_value() &&
         client.WaitForState(v1::STATE_RUNNING);
}

}  // namespace umld::vmcore

#endif  // UMLD_VMCORE_E2E_REQUESTS_H_
