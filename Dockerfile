# One image for every role: `docker run IMAGE` is all of it, `docker run IMAGE up --only gateway` a
# part; docs/deploy.md has the commands. The base is named by tag, so that it gets its security
# fixes; to build the same image twice, put the digest of the tag behind it in both FROM lines
# (`docker buildx imagetools inspect python:3.11-slim-bookworm` prints it): `...-bookworm@sha256:<digest>`.

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
# Each file by its hash; what pip needs to build is not in the image. chDB names packages that
# nothing here imports: the lock leaves them out, hence --no-deps.
COPY requirements.build.lock requirements.runtime.lock ./
RUN python -m venv tools \
 && tools/bin/pip install --quiet --no-cache-dir --require-hashes --requirement requirements.build.lock \
 && python -m venv --without-pip /opt/comptroller \
 && tools/bin/pip --python /opt/comptroller/bin/python install --quiet --no-cache-dir --no-deps \
    --only-binary :all: --require-hashes --requirement requirements.runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY comptroller comptroller
COPY console console
COPY gateway gateway
COPY recorder recorder
COPY orchestrator orchestrator
COPY budgets budgets
COPY clickhouse clickhouse
COPY translator translator
COPY pricing pricing
RUN tools/bin/pip wheel --quiet --no-cache-dir --no-deps --no-build-isolation --no-index --wheel-dir dist . \
 && tools/bin/pip --python /opt/comptroller/bin/python install --quiet --no-cache-dir --no-deps \
    --no-index dist/*.whl

FROM python:3.11-slim-bookworm
COPY --from=build /opt/comptroller /opt/comptroller
RUN install --directory --owner 10001 --group 10001 --mode 0700 /data
# The data plane is reached from outside the container, the admin API and the records are not, unless
# COMPTROLLER_ADMIN_HOST says so: `docker exec CONTAINER comptroller key create ...`.
ENV PATH=/opt/comptroller/bin:/usr/local/bin:/usr/bin:/bin \
    COMPTROLLER_HOST=0.0.0.0 \
    COMPTROLLER_DATA_DIR=/data \
    HEALTH_URL=http://127.0.0.1:4000/readyz
# A number, which needs no entry in /etc/passwd and which Kubernetes can see is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 4000
STOPSIGNAL SIGTERM
# No proxy of the environment's is asked. The start is slow where there is much to take up again.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.build_opener(r.ProxyHandler({})).open(os.environ['HEALTH_URL'], timeout=4)"]
ENTRYPOINT ["comptroller"]
CMD ["up"]
