"""How our programs are linked with the system's libraries."""

def unless_sanitized(options, sanitized):
    """Link options, and those of the sanitizers' builds.

    Args:
      options: everywhere else.
      sanitized: there.
    """
    return select({
        "//third_party/sanitizers:asan": sanitized,
        "//third_party/sanitizers:tsan": sanitized,
        "//conditions:default": options,
    })

def archives(names, shared = None):
    """Link options for libraries that become a part of each program.

    What a program pays at each start for the shared ones is a multiple of what umlctl does itself. The sanitizers' builds
    have those, for they tell apart by the library what they cannot see into.

    Args:
      names: without "lib", as after -l; they see each other in any order.
      shared: the names of the shared libraries, if they are others.
    """
    return ["-Wl,--as-needed", "-Wl,--start-group"] + unless_sanitized(
        ["-l:lib%s.a" % name for name in names],
        ["-l" + name for name in shared or names],
    ) + ["-Wl,--end-group"]
