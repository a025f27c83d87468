# A server of head poses: docker build -t headpose-serve . && docker run -e HEADPOSE_TOKEN=... -p 8000:8000 headpose-serve
FROM python:3.12-slim AS build
WORKDIR /source
COPY pyproject.toml hatch_build.py constraints.txt README.md LICENSE NOTICE ./
COPY headpose headpose
COPY weights weights
# opencv-python-headless is the same version without the libraries of windows, which slim images lack.
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --constraint constraints.txt ".[serve]" \
    && /venv/bin/pip uninstall --yes opencv-python \
    && /venv/bin/pip install --no-cache-dir --constraint constraints.txt opencv-python-headless

FROM python:3.12-slim
RUN useradd --system --no-create-home headpose
COPY --from=build /venv /venv
USER headpose
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
    CMD ["/venv/bin/python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
# Without HEADPOSE_TOKEN the server refuses to listen on 0.0.0.0.
CMD ["/venv/bin/headpose", "serve", "--host", "0.0.0.0", "--port", "8000"]
