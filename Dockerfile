# An image of one service: the toolkit, its pinned dependencies and a main.py. `docker run -v ./main.py:/app/main.py` serves another one,
# `docker run --no-healthcheck … worker /app/main.py` runs its jobs.

FROM python:3.13-slim AS base

FROM base AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
# Dependencies change less often than code, so they have a layer of their own. The environment gets no pip: it is never changed again.
COPY requirements/runtime.lock requirements/build.lock requirements/
RUN python -m venv --without-pip /opt/millrace \
    && pip --python /opt/millrace/bin/python install --no-deps --require-hashes -r requirements/runtime.lock
RUN python -m venv --without-pip /opt/build \
    && pip --python /opt/build/bin/python install --no-deps --require-hashes -r requirements/build.lock
COPY pyproject.toml LICENSE README.md ./
COPY domain/ domain/
COPY infra/ infra/
COPY service/ service/
RUN pip --python /opt/build/bin/python wheel --no-deps --no-build-isolation --wheel-dir dist . \
    && pip --python /opt/millrace/bin/python install --no-deps --no-index dist/*.whl

FROM base
LABEL org.opencontainers.image.title="Millrace" \
      org.opencontainers.image.description="An asynchronous HTTP service from one small module" \
      org.opencontainers.image.licenses="Apache-2.0"
# Orchestrators can only see that an account is not root when it is a number.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin millrace \
    && mkdir -p /data \
    && chown 10001:10001 /data
COPY --from=builder /opt/millrace /opt/millrace
COPY examples/rainfall/ /app/
ENV PATH=/opt/millrace/bin:$PATH \
    HOME=/data \
    HOST=0.0.0.0 \
    PORT=8000 \
    LOG_FORMAT=json \
    MILLRACE_HOME=/data \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8000
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health/live', timeout=2)"]
ENTRYPOINT ["millrace"]
CMD ["serve", "/app/main.py"]
