// The thread sanitizer's options, in the programs themselves: what tests start has an environment of its own.

// A race ends the program that has it, and so its test. Tests fork while the loop's thread runs, and then exec.
// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" const char* __tsan_default_options() { return "halt_on_error=1:second_deadlock_stack=1:die_after_fork=0"; }

// The system's libraries are not built with the sanitizer: it sees what they write (by malloc, memcpy and the like),
// and not how they make sure that nobody reads it before. "called_from_lib" hides what a library itself does and
// nothing of ours. "race" hides every race in whose stacks the name occurs, and the library that called is such a name:
// race:libgrpc would hide what our own callbacks do. Who comes first there is told by grpc_tsan.cc.
// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" const char* __tsan_default_suppressions() {
  return
      // gRPC hands its buffers, its memory for calls, and texts (cords) from one of its threads to another.
      "called_from_lib:libgrpc.so\n"
      "called_from_lib:libgrpc++.so\n"
      "called_from_lib:libgpr.so\n"
      "called_from_lib:libupb.so\n"
      "called_from_lib:libabsl_cord.so\n"
      "called_from_lib:libabsl_cord_internal.so\n"
      // Whoever drops the last reference to a status deletes it; they are counted in there.
      "called_from_lib:libabsl_status.so\n"
      // The text of a status that gRPC sends. Of strings of ours, StrCat's and StrAppend's callers have read where they
      // are and how long, which is seen.
      "called_from_lib:libabsl_strings.so\n"
      // What a request is read into is made when there is room for one, and goes with the call.
      "race:CallbackCallTag::ContinueRunAfterInterception\n"
      // A time zone is made once, behind a mutex that is.
      "called_from_lib:libabsl_time_zone.so\n"
      // What describes a message is made when it is first asked for, behind a once_flag of the library's.
      "race:google::protobuf::internal::AssignDescriptors\n";
}
