"""What a server is pointed at: `uvicorn app.main:app`."""

from app.api.application import Application
from app.logs import configure_logs
from app.settings import InvalidSettings, Settings, load_settings

try:
    _settings = load_settings()
except InvalidSettings:  # said when the application starts
    _settings = Settings.model_construct()

configure_logs(_settings)
app = Application()
