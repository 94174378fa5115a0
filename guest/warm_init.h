#ifndef UMLD_GUEST_WARM_INIT_H_
#define UMLD_GUEST_WARM_INIT_H_

#include "absl/strings/string_view.h"

namespace umld::guest {

// warm/init.c as a static program.
absl::string_view WarmInit();

}  // namespace umld::guest

#endif  // UMLD_GUEST_WARM_INIT_H_
