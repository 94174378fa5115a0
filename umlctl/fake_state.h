#ifndef UMLD_UMLCTL_FAKE_STATE_H_
#define UMLD_UMLCTL_FAKE_STATE_H_

#include <grpcpp/support/status.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "umlctl/fake_daemon.h"

namespace umld::umlctl {

// What FakeDaemon knows. Its methods but Log are called with `mutex` held.
struct FakeDaemon::State {
  absl::Mutex mutex;
  std::map<std::string, v1::Guest> guests;
  std::map<std::string, v1::Image> images;
  std::map<std::string, v1::Operation> operations;
  std::vector<v1::Event> events;
  std::vector<std::string> calls;
  std::vector<std::string> request_ids;
  std::string console_input;
  std::string log = "Linux version 6.1\r\n\033[31mred\n";  // of every console
  bool down = false;
  bool was_down = false;

  void Log(const std::string& call, const std::string& request_id = "") {
    absl::MutexLock lock(&mutex);
    calls.push_back(call);
    if (!request_id.empty()) request_ids.push_back(request_id);
  }
  void AddEvent(const std::string& type, const std::string& subject, v1::GuestState guest_state) {
    v1::Event event;
    event.set_sequence(events.size() + 1);
    event.mutable_time()->set_seconds(absl::ToUnixSeconds(absl::Now()));
    event.set_type(type);
    event.set_subject(subject);
    event.set_state(guest_state);
    event.set_message(absl::StrCat("it is ", v1::GuestState_Name(guest_state)));
    events.push_back(event);
  }
  void Change(v1::Guest& guest, v1::GuestState to, const std::string& reason = "") {
    guest.set_state(to);
    if (to == v1::CRASHED) {
      guest.mutable_last_exit()->set_kind(v1::GuestExit::CRASHED);
      guest.mutable_last_exit()->set_reason(reason);
    }
    AddEvent(to == v1::CRASHED ? "guest.crashed" : "guest.state", guest.name(), to);
  }
  v1::Operation NewOperation(const std::string& verb, const std::string& target, bool done) {
    v1::Operation operation;
    operation.set_name(absl::StrCat("operations/", operations.size() + 1));
    operation.set_verb(verb);
    operation.set_target(target);
    operation.set_done(done);
    operations[operation.name()] = operation;
    return operation;
  }
};

// As umld answers: with an ErrorInfo in the details.
grpc::Status FakeError(grpc::StatusCode code, const std::string& message, const std::string& reason,
                       const std::string& hint);
grpc::Status FakeNoGuest(const std::string& name);

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_FAKE_STATE_H_
