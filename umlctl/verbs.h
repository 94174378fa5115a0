#ifndef UMLD_UMLCTL_VERBS_H_
#define UMLD_UMLCTL_VERBS_H_

#include "umlctl/session.h"

namespace umld::umlctl {

// Each adds its verb, or verbs, to the command line: what may be typed, its help, and what is done. One file per
// verb; the trivial ones share lifecycle.cc.
void AddCreate(CLI::App& app, Session& session);
void AddStart(CLI::App& app, Session& session);
void AddStop(CLI::App& app, Session& session);       // stop, reboot
void AddLifecycle(CLI::App& app, Session& session);  // pause, resume, kill, delete
void AddList(CLI::App& app, Session& session);
void AddDescribe(CLI::App& app, Session& session);
void AddStats(CLI::App& app, Session& session);
void AddTop(CLI::App& app, Session& session);
void AddWait(CLI::App& app, Session& session);
void AddRename(CLI::App& app, Session& session);
void AddSet(CLI::App& app, Session& session);
void AddEvents(CLI::App& app, Session& session);
void AddLogs(CLI::App& app, Session& session);
void AddConsole(CLI::App& app, Session& session);
void AddRecord(CLI::App& noun, Session& session);  // below console
void AddPlug(CLI::App& app, Session& session);
void AddUnplug(CLI::App& app, Session& session);
void AddConfig(CLI::App& app, Session& session);
void AddMconsole(CLI::App& app, Session& session);
void AddGdb(CLI::App& app, Session& session);
void AddImage(CLI::App& app, Session& session);
void AddKernel(CLI::App& app, Session& session);
void AddClone(CLI::App& app, Session& session);
void AddSnapshot(CLI::App& app, Session& session);
void AddExport(CLI::App& app, Session& session);
void AddImport(CLI::App& app, Session& session);
void AddDisk(CLI::App& app, Session& session);
void AddVolume(CLI::App& app, Session& session);
void AddPool(CLI::App& app, Session& session);
void AddHost(CLI::App& app, Session& session);
void AddOperations(CLI::App& app, Session& session);
void AddVersion(CLI::App& app, Session& session);
void AddCompletion(CLI::App& app, Session& session);  // completion, and __complete that the shells call

// The headings of umlctl --help.
inline constexpr char kGuestsGroup[] = "Guests";
inline constexpr char kDevicesGroup[] = "Consoles and devices";
inline constexpr char kHostGroup[] = "The host";

}  // namespace umld::umlctl

#endif  // UMLD_UMLCTL_VERBS_H_
