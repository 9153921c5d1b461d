# docker build -f docs/serving.Dockerfile -t winnow-serve .     in the root of the repository; docs/serving.md has more
FROM python:3.13-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends g++
WORKDIR /build
COPY pyproject.toml constraints.txt hatch_build.py README.md LICENSE ./
COPY conf conf
COPY src src
RUN pip install --no-cache-dir filelock \
 && mkdir dist \
 && PYTHONPATH=src python -m winnow.engine.library dist/libwinnow_sparse.so \
 && pip wheel --no-cache-dir --no-deps --wheel-dir dist .

FROM python:3.13-slim
COPY --from=build /build/constraints.txt /build/dist/*.whl /wheels/
RUN pip install --no-cache-dir --constraint /wheels/constraints.txt "$(echo /wheels/*.whl)[serve]" \
 && useradd --system winnow
USER winnow
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health')"]
ENTRYPOINT ["winnow", "serve", "deployment=/deployment", "host=0.0.0.0"]
