# syntax=docker/dockerfile:1
# orchestrate as an image: two stages, no compiler and no package manager in the second, an account without a name.
# test/chart/image.test.ts does what is done here in a directory of its own, without Docker.

FROM node:22-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc tsconfig.json tsconfig.build.json ./
RUN npm ci --omit=optional --ignore-scripts --no-audit --no-fund
COPY src src
COPY migrations migrations
COPY orchestrator orchestrator
RUN npm run --silent build \
 && npm prune --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund \
 && find dist node_modules \( -name '*.map' -o -name '*.d.ts' -o -name '*.md' -o -name '*.ts' \) -type f -delete

FROM gcr.io/distroless/nodejs22-debian12:nonroot
WORKDIR /app
COPY --from=build /build/package.json ./package.json
COPY --from=build /build/node_modules ./node_modules
COPY --from=build /build/dist ./dist
ENV NODE_ENV=production
USER 65532:65532
EXPOSE 9187
ENTRYPOINT ["/nodejs/bin/node", "/app/dist/orchestrator/main.js"]
CMD ["run", "--metrics-listen", "0.0.0.0:9187"]
