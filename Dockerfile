# Copies prebuilt static binaries onto nothing. `image/build` compiles them, stages them, and builds both images:
#
#   docker build --target ask2do-token -t ask2do-token .           (BuildKit: Docker 23 or later)
#   buildah bud --timestamp 0 --target ask2do-token -t ask2do-token .
#
# No file of public roots: they are compiled into the binaries (webpki-roots).

FROM scratch AS base
USER 65532:65532
ARG VERSION=0.1.0
LABEL org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="Ask2Do" \
      org.opencontainers.image.url="https://github.com/ask2do/ask2do-token" \
      org.opencontainers.image.source="https://github.com/ask2do/ask2do-token" \
      org.opencontainers.image.documentation="https://github.com/ask2do/ask2do-token/tree/main/docs" \
      org.opencontainers.image.version="${VERSION}"

# The simulated cloud and the whole playground: to try the service without Rust.
FROM base AS ask2do-token-playground
COPY --chmod=0555 target/image/ask2do-token-playground target/image/ask2do-token /
LABEL org.opencontainers.image.title="ask2do-token-playground" \
      org.opencontainers.image.description="The Ask2Do token service to try, with a simulated cloud"
ENTRYPOINT ["/ask2do-token-playground"]

# Server, gateway and command line. Last, so that it is what a build without a target makes.
FROM base AS ask2do-token
COPY --chmod=0555 target/image/ask2do-token-server target/image/ask2do-token-gateway target/image/ask2do-token /
LABEL org.opencontainers.image.title="ask2do-token" \
      org.opencontainers.image.description="The token service for Ask2Do: server, gateway and command line"
ENTRYPOINT ["/ask2do-token-server"]
