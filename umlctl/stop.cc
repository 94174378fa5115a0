#include <CLI/App.hpp>
#include <memory>

#include "base/status.h"
#include "umlctl/duration.h"
#include "umlctl/each_guest.h"
#include "umlctl/operation_wait.h"
#include "umlctl/verbs.h"

namespace umld::umlctl {
namespace {

struct Options {
  GuestSelection guests;
  bool now = false;
  std::string timeout;
};

using Call = std::function<absl::StatusOr<v1::Operation>(Client&, const std::string&, const v1::StopPolicy&)>;

absl::StatusOr<v1::StopPolicy> Policy(const Options& options) {
  v1::StopPolicy policy;
  policy.set_now(options.now);
  if (!options.timeout.empty()) {
    ASSIGN_OR_RETURN(const absl::Duration timeout, ParseDuration(options.timeout));
    policy.mutable_timeout()->set_seconds(absl::ToInt64Seconds(timeout));
    policy.mutable_timeout()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(timeout % absl::Seconds(1))));
  }
  return policy;
}

absl::Status Run(Session& session, const Options& options, const char* said, const Call& call) {
  ASSIGN_OR_RETURN(const v1::StopPolicy policy, Policy(options));
  return ForEachGuest(
      session, options.guests, [](v1::GuestState state) { return state != v1::STOPPED && state != v1::CRASHED; },
      [&](Client& client, const std::string& name) -> absl::StatusOr<GuestResult> {
        ASSIGN_OR_RETURN(v1::Operation operation, call(client, name, policy));
        ASSIGN_OR_RETURN(operation, WaitForOperation(session, client, std::move(operation)));
        return GuestResult{said, std::make_shared<v1::Operation>(std::move(operation))};
      });
}

template <typename Request>
Request MakeRequest(const std::string& name, const v1::StopPolicy& policy) {
  Request request;
  request.set_name(name);
  *request.mutable_policy() = policy;
  request.set_request_id(NewRequestId());
  return request;
}

void Add(CLI::App& app, Session& session, const char* word, const char* help, const char* said, Call call) {
  CLI::App* verb = app.add_subcommand(word, help)->group(kGuestsGroup);
  auto options = std::make_shared<Options>();
  AddGuestSelection(*verb, options->guests);
  verb->add_flag("--now", options->now, "do not ask the guest's init: sync and halt at once");
  verb->add_option("--timeout", options->timeout, "how long the guest's init may take (30s)");
  OnVerb(verb, session,
         [&session, options, said, call = std::move(call)] { return Run(session, *options, said, call); });
}

}  // namespace

void AddStop(CLI::App& app, Session& session) {
  Add(app, session, "stop", "Shut guests down in order, and wait until they are", "stopped",
      [](Client& client, const std::string& name, const v1::StopPolicy& policy) {
        return client.StopGuest(MakeRequest<v1::StopGuestRequest>(name, policy));
      });
  Add(app, session, "reboot", "Stop guests and start them anew", "rebooted",
      [](Client& client, const std::string& name, const v1::StopPolicy& policy) {
        return client.RebootGuest(MakeRequest<v1::RebootGuestRequest>(name, policy));
      });
}

}  // namespace umld::umlctl
