# An image of one of our programs, for those who have Docker; `cargo xtask images` needs none:
#   docker build --build-arg BIN=forward-operator --tag operator .
FROM rust:1.95-bookworm AS build
ARG BIN
WORKDIR /source
COPY . .
# Static, so that the image holds nothing else. A target must be named, or the flags
# would apply to build scripts and macros too, which cannot be static.
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    target="$(uname -m)-unknown-linux-gnu" && \
    cargo build --locked --profile image --target "$target" --package "$BIN" && \
    install "target/$target/image/$BIN" /program

FROM scratch
COPY --from=build /program /program
USER 65532:65532
ENTRYPOINT ["/program"]
