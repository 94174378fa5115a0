"""C++ from .proto files with Debian's protoc; Bazel's own proto rules would want to build protoc."""

def umld_cc_proto(name, srcs, deps = [], grpc = False, lite = False, visibility = None):
    """A cc_library with the generated code of `srcs`.

    Args:
      name: the library's name.
      srcs: .proto files of this package.
      deps: other umld_cc_proto libraries these files import.
      grpc: also generate services.
      lite: the files say optimize_for = LITE_RUNTIME; link the lite runtime alone.
      visibility: as everywhere.
    """
    headers = []
    sources = []
    for src in srcs:
        stem = src[:-len(".proto")]
        headers.append(stem + ".pb.h")
        sources.append(stem + ".pb.cc")
        if grpc:
            headers.append(stem + ".grpc.pb.h")
            sources.append(stem + ".grpc.pb.cc")
    native.filegroup(
        name = name + "_protos",
        srcs = srcs + [d + "_protos" for d in deps],
        visibility = visibility,
    )
    plugin = "--grpc_out=$(RULEDIR)/{up} --plugin=protoc-gen-grpc=/usr/bin/grpc_cpp_plugin " if grpc else ""
    depth = len(native.package_name().split("/")) - 1
    up = "/".join([".."] * depth) if depth > 0 else "."
    native.genrule(
        name = name + "_gen",
        srcs = srcs + [d + "_protos" for d in deps],
        outs = headers + sources,
        cmd = ("/usr/bin/protoc -I proto --cpp_out=$(RULEDIR)/{up} " + plugin +
               " ".join(["$(execpath %s)" % s for s in srcs])).format(up = up),
    )
    native.cc_library(
        name = name,
        srcs = sources,
        hdrs = headers,
        strip_include_prefix = "/proto",
        visibility = visibility,
        deps = deps + ["//third_party:protobuf_lite" if lite else "//third_party:protobuf"] +
               (["//third_party:grpc"] if grpc else []),
    )
