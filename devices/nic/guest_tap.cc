#include "devices/nic/guest_tap.h"

#include <linux/if_ether.h>
#include <linux/if_tun.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <netlink/errno.h>
#include <netlink/route/act/mirred.h>
#include <netlink/route/action.h>
#include <netlink/route/classifier.h>
#include <netlink/route/cls/u32.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/tc.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "devices/nic/netlink.h"

namespace umld::devices {
namespace {

struct PutQdisc {
  void operator()(rtnl_qdisc* qdisc) const { rtnl_qdisc_put(qdisc); }
};
struct PutClassifier {
  void operator()(rtnl_cls* classifier) const { rtnl_cls_put(classifier); }
};
struct PutAction {
  void operator()(rtnl_act* action) const { rtnl_act_put(action); }
};
using Qdisc = std::unique_ptr<rtnl_qdisc, PutQdisc>;
using Classifier = std::unique_ptr<rtnl_cls, PutClassifier>;
using Action = std::unique_ptr<rtnl_act, PutAction>;

// The most that a veth takes. Frames are as long as the host's end and the guest say; what is between them lets all
// pass.
constexpr unsigned kMtu = 65535;

// '+' is in no name that a user can give.
std::string VethName(const std::string& device) { return device + "+"; }

absl::Status NameTaken(const std::string& name) {
  return MakeError(
      absl::StatusCode::kFailedPrecondition,
      absl::StrCat("the host has an interface ", name, " already, which a confined guest's kernel cannot open"),
      {"NAME_TAKEN", name,
       absl::StrCat(
           "use a name that is free, and umld makes the interface; or `ip link del ", name,
           "` first; or create the guest with --confinement relaxed --trust trusted, which opens taps of the host")});
}

absl::Status NoRedirect(int error, const std::string& name) {
  if (error == -NLE_PERM) return Denied(name, absl::StrCat("redirect what comes to ", name));
  return MakeError(absl::StatusCode::kFailedPrecondition,
                   absl::StrCat("this host's kernel does not redirect what comes to ", name, ": ", nl_geterror(error)),
                   {"NO_REDIRECT", name,
                    "it needs sch_ingress, cls_u32 and act_mirred (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_U32, "
                    "CONFIG_NET_ACT_MIRRED); or create the guest with --confinement relaxed --trust trusted"});
}

// Sends all that comes to the interface `from` out at `to`. By u32 with an empty mask, which matches everything: of the
// classifiers that could, it is the one that kernels have had for longest (matchall is missing in small ones).
absl::Status Redirect(nl_sock* socket, const std::string& name, int from, int to) {
  Qdisc qdisc(rtnl_qdisc_alloc());
  rtnl_tc_set_ifindex(TC_CAST(qdisc.get()), from);
  rtnl_tc_set_parent(TC_CAST(qdisc.get()), TC_H_INGRESS);
  rtnl_tc_set_handle(TC_CAST(qdisc.get()), TC_HANDLE(0xffff, 0));
  if (int error = rtnl_tc_set_kind(TC_CAST(qdisc.get()), "ingress"); error < 0) return NoRedirect(error, name);
  if (int error = rtnl_qdisc_add(socket, qdisc.get(), NLM_F_CREATE | NLM_F_EXCL); error < 0) {
    return NoRedirect(error, name);
  }
  Action action(rtnl_act_alloc());
  if (int error = rtnl_tc_set_kind(TC_CAST(action.get()), "mirred"); error < 0) return NoRedirect(error, name);
  rtnl_mirred_set_action(action.get(), TCA_EGRESS_REDIR);
  rtnl_mirred_set_policy(action.get(), TC_ACT_STOLEN);
  rtnl_mirred_set_ifindex(action.get(), static_cast<uint32_t>(to));
  Classifier classifier(rtnl_cls_alloc());
  rtnl_tc_set_ifindex(TC_CAST(classifier.get()), from);
  rtnl_tc_set_parent(TC_CAST(classifier.get()), TC_HANDLE(0xffff, 0));
  if (int error = rtnl_tc_set_kind(TC_CAST(classifier.get()), "u32"); error < 0) return NoRedirect(error, name);
  rtnl_cls_set_prio(classifier.get(), 1);
  rtnl_cls_set_protocol(classifier.get(), ETH_P_ALL);
  // It looks at four bytes even for that, and the shortest frame has those of its Ethernet header alone.
  rtnl_u32_add_key(classifier.get(), 0, 0, -ETH_HLEN, 0);
  rtnl_u32_set_cls_terminal(classifier.get());
  rtnl_u32_add_action(classifier.get(), action.get());
  const int error = rtnl_cls_add(socket, classifier.get(), NLM_F_CREATE | NLM_F_EXCL);
  return error < 0 ? NoRedirect(error, name) : absl::OkStatus();
}

// The pair, its second end in the host's namespace at once.
absl::Status MakeVeth(nl_sock* inner, const std::string& inner_name, const std::string& name, int home_fd) {
  Link link(rtnl_link_veth_alloc());
  rtnl_link_set_name(link.get(), inner_name.c_str());
  rtnl_link_set_mtu(link.get(), kMtu);
  Link peer(rtnl_link_veth_get_peer(link.get()));
  rtnl_link_set_name(peer.get(), name.c_str());
  rtnl_link_set_ns_fd(peer.get(), home_fd);
  const int error = rtnl_link_add(inner, link.get(), NLM_F_CREATE | NLM_F_EXCL);
  if (error == -NLE_EXIST) return NameTaken(name);
  return error < 0 ? NetlinkError(error, name, absl::StrCat("make the interface ", name)) : absl::OkStatus();
}

// Both in the guest's namespace, in which they were opened.
struct Inner {
  Socket netlink;
  UniqueFd tun;
};

absl::StatusOr<Inner> OpenInner(const NetworkNamespace& guest) {
  Inner inner;
  RETURN_IF_ERROR(guest.Run([&]() -> absl::Status {
    ASSIGN_OR_RETURN(inner.netlink, OpenNetlink());
    ASSIGN_OR_RETURN(inner.tun, OpenTun());
    return absl::OkStatus();
  }));
  return inner;
}

absl::Status Make(nl_sock* host, const Inner& inner, int home_fd, uid_t owner, GuestTap* made) {
  const std::string& name = made->host.name;
  if (const int error = AttachTap(inner.tun, name, IFF_TUN_EXCL); error != 0) {
    return ErrnoError(error, absl::StrCat("make the tap ", name));
  }
  // The owner may attach to it, and needs no capability for that.
  if (ioctl(inner.tun.get(), TUNSETOWNER, static_cast<unsigned long>(owner)) != 0) {
    return ErrnoError(errno, absl::StrCat("own ", name));
  }
  if (ioctl(inner.tun.get(), TUNSETPERSIST, 1UL) != 0) return ErrnoError(errno, absl::StrCat("keep ", name));
  made->tap = FindIndex(inner.netlink.get(), name);
  RETURN_IF_ERROR(MakeVeth(inner.netlink.get(), VethName(made->device), name, home_fd));
  made->veth = FindIndex(inner.netlink.get(), VethName(made->device));
  made->host.index = FindIndex(host, name);
  RETURN_IF_ERROR(Redirect(inner.netlink.get(), name, made->tap, made->veth));
  RETURN_IF_ERROR(Redirect(inner.netlink.get(), VethName(made->device), made->veth, made->tap));
  RETURN_IF_ERROR(BringUp(inner.netlink.get(), name));
  RETURN_IF_ERROR(BringUp(inner.netlink.get(), VethName(made->device)));
  RETURN_IF_ERROR(BringUp(host, name));
  if (made->host.address.empty()) return absl::OkStatus();
  return AddAddress(host, name, made->host.index, made->host.address);
}

}  // namespace

absl::StatusOr<GuestTap> OpenGuestTap(const NetworkNamespace& guest, const std::string& device, const std::string& name,
                                      const std::string& address, uid_t owner, const RecordTap& record) {
  ASSIGN_OR_RETURN(Inner inner, OpenInner(guest));
  ASSIGN_OR_RETURN(Socket host, OpenNetlink());
  if (FindIndex(host.get(), name) != 0) return NameTaken(name);
  if (!address.empty()) RETURN_IF_ERROR(HasAddress(host.get(), 0, address).status());
  GuestTap made;
  made.device = device;
  made.host.name = name;
  made.host.address = address;
  made.host.made = true;
  absl::Status status = Make(host.get(), inner, guest.home_fd(), owner, &made);
  if (status.ok()) status = record(made.host);
  if (status.ok()) return made;
  CloseGuestTap(guest, made).IgnoreError();
  return status;
}

absl::Status CloseGuestTap(const NetworkNamespace& guest, const GuestTap& tap) {
  return guest.Run([&]() -> absl::Status {
    ASSIGN_OR_RETURN(Socket socket, OpenNetlink());
    for (const int index : {tap.veth, tap.tap}) {
      if (index != 0) RETURN_IF_ERROR(DeleteLink(socket.get(), index));
    }
    return absl::OkStatus();
  });
}

bool IsWhole(const NetworkNamespace& guest, const GuestTap& tap) {
  bool whole = false;
  absl::Status looked = guest.Run([&]() -> absl::Status {
    ASSIGN_OR_RETURN(Socket socket, OpenNetlink());
    whole =
        FindIndex(socket.get(), tap.host.name) == tap.tap && FindIndex(socket.get(), VethName(tap.device)) == tap.veth;
    return absl::OkStatus();
  });
  return looked.ok() && whole;
}

}  // namespace umld::devices
