"""How our programs are linked with the system's libraries."""

def archives(names):
    """Link options for libraries that become a part of each program: what one pays at each start for the shared ones is a
    multiple of what umlctl does itself. They see each other in any order. The sanitizers' builds have the shared ones, for
    they tell apart by the library what they cannot see into.

    Args:
      names: without "lib", as after -l.
    """
    shared = ["-l" + name for name in names]
    return ["-Wl,--as-needed", "-Wl,--start-group"] + select({
        "//third_party/sanitizers:asan": shared,
        "//third_party/sanitizers:tsan": shared,
        "//conditions:default": ["-l:lib%s.a" % name for name in names],
    }) + ["-Wl,--end-group"]
