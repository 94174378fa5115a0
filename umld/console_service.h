#ifndef UMLD_UMLD_CONSOLE_SERVICE_H_
#define UMLD_UMLD_CONSOLE_SERVICE_H_

#include "base/event_loop.h"
#include "umld/daemon_config.h"
#include "umld/guest_table.h"
#include "umld/v1/services.grpc.pb.h"
#include "umld/worker_pool.h"

namespace umld {

// The gRPC edge of consoles. A viewer has a connection to the guest's vmcore of its own (attached_console.h); logs are
// read from their files (log_reader.h), whether or not the guest runs.
class ConsoleService final : public v1::Consoles::CallbackService {
 public:
  // All outlive it.
  ConsoleService(const DaemonConfig* config, GuestTable* table, EventLoop* loop, WorkerPool* pool)
      : config_(config), table_(table), loop_(loop), pool_(pool) {}

  grpc::ServerBidiReactor<v1::AttachConsoleRequest, v1::AttachConsoleResponse>* AttachConsole(
      grpc::CallbackServerContext*) override;
  grpc::ServerWriteReactor<v1::ReadConsoleLogResponse>* ReadConsoleLog(grpc::CallbackServerContext*,
                                                                       const v1::ReadConsoleLogRequest*) override;

 private:
  const DaemonConfig* const config_;
  GuestTable* const table_;
  EventLoop* const loop_;
  WorkerPool* const pool_;
};

// "guests/web1/consoles/con1" to its two parts. kInvalidArgument.
struct ConsoleName {
  std::string guest;
  std::string console;
};
absl::StatusOr<ConsoleName> ParseConsoleName(const std::string& name);

}  // namespace umld

#endif  // UMLD_UMLD_CONSOLE_SERVICE_H_
