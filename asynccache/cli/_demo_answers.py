"""What the demo's stand-in says: the answers of a bank that does not exist, one for each intent."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Final

__all__ = ["ANSWERS", "answers"]

_OPENINGS: Final = ("", "Thanks for asking.", "Happy to help.")
_CLOSINGS: Final = ("", "Is there anything else?")
"""A model varies its words where its answer is the same; so that comparing answers is not made too easy."""


def answers(questions: Mapping[str, str]) -> dict[str, str]:
    """The answer to each question.

    Args:
        questions: question to intent; those of one intent get the same answer, with other words around it.
    """
    return {question: _worded(question, ANSWERS[intent]) for question, intent in questions.items()}


def _worded(question: str, answer: str) -> str:
    drawn = sha256(question.encode()).digest()
    words = (_OPENINGS[drawn[0] % len(_OPENINGS)], answer, _CLOSINGS[drawn[1] % len(_CLOSINGS)])
    return " ".join(filter(None, words))


ANSWERS: Final[Mapping[str, str]] = {
    "Refund_not_showing_up": (
        "Merchants need up to 7 working days to send a refund. If yours is missing after that, send "
        "us the receipt and we will trace it."
    ),
    "activate_my_card": "Open the app, choose Cards, tap Activate and enter the three digits on the back.",
    "age_limit": (
        "You must be at least 18 to open an account. Children from 7 on can have a junior one, which "
        "a parent opens."
    ),
    "atm_support": "Any cash machine that shows the Mastercard sign will take it, at home and abroad.",
    "balance_not_updated_after_bank_transfer": (
        "A bank transfer into your account arrives within 2 working days. Check that the account "
        "number you sent it to was right."
    ),
    "balance_not_updated_after_cheque_or_cash_deposit": (
        "Cheques take 6 working days to clear, cash that was paid in at a counter is there the next morning."
    ),
    "beneficiary_not_allowed": (
        "We cannot send money to that recipient, since their country or their bank is not supported. "
        "Please pick somebody else."
    ),
    "cancel_transfer": (
        "As long as a transfer is marked as pending, you can call it back with the button Cancel. "
        "Once completed, only the recipient can return it."
    ),
    "card_acceptance": ("Shops in over 200 countries take the card, wherever the logo is shown at the till."),
    "card_delivery_estimate": (
        "Post takes 5 working days within Europe, and 12 to the rest of the world. Express delivery takes 2."
    ),
    "card_not_working": (
        "Try the chip instead of contactless, then unfreeze the card in its settings. If neither "
        "helps, we will replace it."
    ),
    "card_payment_not_recognised": (
        "If you did not make that purchase, freeze the card at once and dispute the payment: tap it, "
        "and choose Report fraud."
    ),
    "cash_withdrawal_charge": (
        "Taking out up to 200 euros a month is free. Beyond that each withdrawal costs 2 %."
    ),
    "cash_withdrawal_not_recognised": (
        "Somebody else may have your PIN if cash was taken that you know nothing of. Block the card "
        "and call our fraud line today."
    ),
    "change_pin": "You set another PIN at any cash machine, under PIN services; the app cannot do it.",
    "declined_card_payment": (
        "A purchase is refused when the balance is too low, the limit is reached or the card is "
        "frozen. The notification says which."
    ),
    "declined_cash_withdrawal": (
        "The machine refused to pay out because the daily cash limit of 500 euros was reached or the "
        "wrong PIN was typed."
    ),
    "exchange_charge": ("Changing one currency into another costs nothing on weekdays, and 1 % at weekends."),
    "exchange_rate": (
        "We use the interbank rate of the very moment; the converter in the app shows it live."
    ),
    "extra_charge_on_statement": (
        "That additional pound is an authorisation hold, with which merchants check a card. It "
        "disappears by itself after 8 days."
    ),
    "fiat_currency_support": (
        "You can hold and exchange 28 currencies, dollars, euros, pounds and yen among them."
    ),
    "get_physical_card": (
        "Your PIN is shown in the app, under Cards, Show PIN, once you have confirmed your fingerprint."
    ),
    "lost_or_stolen_card": (
        "Freeze it immediately in the app so that no thief can pay, then order a replacement, which is free."
    ),
    "lost_or_stolen_phone": (
        "Log in on our website from any computer and sign out the missing device; your money stays safe."
    ),
    "order_physical_card": (
        "Choose Order plastic and confirm your address; the first one is free, each further one costs "
        "10 euros."
    ),
    "pending_cash_withdrawal": (
        "The bank that owns the machine has not confirmed the payout yet. If no notes came out, the "
        "entry vanishes within 14 days."
    ),
    "pending_transfer": (
        "Your payment waits for a routine check at the receiving bank, which seldom takes longer than "
        "one day."
    ),
    "pin_blocked": (
        "After three wrong tries the code is locked. Unlock it under Cards, Unblock, and wait ten minutes."
    ),
    "reverted_card_payment?": (
        "The merchant cancelled your purchase, or never collected it, so the amount was given back to you."
    ),
    "terminate_account": (
        "Empty the balance first, then go to Profile, Close account. We delete your records after the "
        "legal period."
    ),
    "top_up_by_bank_transfer_charge": (
        "Adding money by SEPA is free of charge; SWIFT payments cost whatever the sending bank takes."
    ),
    "top_up_by_card_charge": (
        "Adding funds from a European debit card is free; credit cards and American ones cost 1.5 %."
    ),
    "top_up_limits": "You may add at most 25,000 euros a month, and 5,000 in a single day.",
    "top_up_reverted": (
        "Your bank rejected the top-up and took the money back, mostly since the name on the card was "
        "not yours."
    ),
    "topping_up_by_card": (
        "Tap Add money, pick Debit card, type in its number and confirm with your bank's code."
    ),
    "transfer_timing": (
        "Within the SEPA area money reaches the other account in one working day, overseas in three to five."
    ),
    "unable_to_verify_identity": (
        "Take the photo of your passport again in daylight, without glare, with all four corners to be seen."
    ),
    "verify_top_up": (
        "Enter the four-digit code that stands next to our name in your card statement to confirm the top-up."
    ),
    "virtual_card_not_working": (
        "Online shops sometimes refuse disposable numbers. Create a fresh virtual one and try that instead."
    ),
    "visa_or_mastercard": "We issue both: you choose between Visa and Mastercard when you sign up.",
    "why_verify_identity": (
        "The law against money laundering obliges every bank to know who its customers are."
    ),
    "wrong_exchange_rate_for_cash_withdrawal": (
        "If a foreign machine offers to convert for you, decline: its own poor rate was applied "
        "instead of ours."
    ),
}
