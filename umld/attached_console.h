#ifndef UMLD_UMLD_ATTACHED_CONSOLE_H_
#define UMLD_UMLD_ATTACHED_CONSOLE_H_

#include "absl/status/statusor.h"
#include "base/event_loop.h"
#include "umld/caller.h"
#include "umld/daemon_config.h"
#include "umld/guest_table.h"
#include "umld/v1/services.grpc.pb.h"
#include "umld/worker_pool.h"

namespace umld {

using AttachReactor = grpc::ServerBidiReactor<v1::AttachConsoleRequest, v1::AttachConsoleResponse>;

// One viewer of a console: gRPC on one side, a connection to vmcore on the other. Bytes wait in neither direction for
// longer than the slower side takes: a client that does not read stops us from reading vmcore, which then skips (and
// says so); a guest that does not read stops us from reading the client. Deletes itself when the call is over.
AttachReactor* NewAttachedConsole(const DaemonConfig* config, GuestTable* table, EventLoop* loop, WorkerPool* pool,
                                  absl::StatusOr<Caller> caller);

}  // namespace umld

#endif  // UMLD_UMLD_ATTACHED_CONSOLE_H_
