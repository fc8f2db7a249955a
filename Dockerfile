# The server alone, on an image without a shell. Needs BuildKit (any Docker since 23), for the caches
# that keep a second build to the code that changed.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The target directory is a cache and gone after this step, so the binary is copied out of it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin mercato \
    && install -D target/release/mercato /out/mercato

# glibc, libgcc, CA certificates and an unprivileged user (65532); its tags have no numbers beyond
# Debian's. The same Debian as above, hence the same glibc.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/mercato /usr/local/bin/mercato
EXPOSE 3000

# No HEALTHCHECK: it would have to be a program in the image, and the image has none but the server.
# Kubernetes ignores it anyway. Whoever runs the server asks `/health` (is the process alive?) and
# `/ready` (can it serve?) over HTTP, as the load balancer in front of it does.

ENTRYPOINT ["mercato"]
CMD ["serve"]
