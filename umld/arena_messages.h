#ifndef UMLD_UMLD_ARENA_MESSAGES_H_
#define UMLD_UMLD_ARENA_MESSAGES_H_

#include <grpcpp/support/message_allocator.h>

#include "google/protobuf/arena.h"

namespace umld {

// For a call whose answer has thousands of parts: request and response of each call live in an arena of their own, and
// all the parts are freed at once. To be given to the service's SetMessageAllocatorFor_CALL, which it outlives.
// Thread-safe.
template <typename Request, typename Response>
class ArenaMessages final : public grpc::MessageAllocator<Request, Response> {
 public:
  grpc::MessageHolder<Request, Response>* AllocateMessages() override { return new Holder; }

 private:
  class Holder final : public grpc::MessageHolder<Request, Response> {
   public:
    Holder() : arena_(Blocks()) {
      this->set_request(google::protobuf::Arena::CreateMessage<Request>(&arena_));
      this->set_response(google::protobuf::Arena::CreateMessage<Response>(&arena_));
    }
    void Release() override { delete this; }

   private:
    static google::protobuf::ArenaOptions Blocks() {
      google::protobuf::ArenaOptions options;
      options.start_block_size = 4 << 10;
      options.max_block_size = 256 << 10;
      return options;
    }
    google::protobuf::Arena arena_;
  };
};

}  // namespace umld

#endif  // UMLD_UMLD_ARENA_MESSAGES_H_
