#ifndef UMLD_UMLD_EVENT_SERVICE_H_
#define UMLD_UMLD_EVENT_SERVICE_H_

#include <string>
#include <vector>

#include "umld/event_log.h"
#include "umld/guest_table.h"
#include "umld/guests.h"
#include "umld/v1/services.grpc.pb.h"
#include "umld/worker_pool.h"

namespace umld {

// The gRPC edge of EventLog: a snapshot of the guests, then what happens.
class EventService final : public v1::Events::CallbackService {
 public:
  EventService(EventLog* events, GuestTable* table, Guests* guests, WorkerPool* pool)
      : events_(events), table_(table), guests_(guests), pool_(pool) {}

  grpc::ServerWriteReactor<v1::WatchResponse>* Watch(grpc::CallbackServerContext*, const v1::WatchRequest*) override;

 private:
  // Whose snapshot a watcher of `subject` gets; empty: all.
  std::vector<GuestPtr> GuestsOf(const std::string& subject) const;

  EventLog* const events_;
  GuestTable* const table_;
  Guests* const guests_;
  WorkerPool* const pool_;
};

}  // namespace umld

#endif  // UMLD_UMLD_EVENT_SERVICE_H_
