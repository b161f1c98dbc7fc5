# The server of `make serve` in a container; docs/browse.md, "Serve in a container".
FROM python:3.11-slim
RUN useradd --create-home --home-dir /app app
WORKDIR /app
USER app
COPY requirements.lock ./
RUN python -m pip install --user --no-cache-dir --no-deps --require-hashes -r requirements.lock
COPY --chown=app params.yaml mlflow.db ./
COPY --chown=app mlruns mlruns
COPY --chown=app src src
ENV PYTHONPATH=src
EXPOSE 5001
ENTRYPOINT ["python", "-m", "sidebyside.serving.serve", "--host", "0.0.0.0"]
CMD ["cnn"]
