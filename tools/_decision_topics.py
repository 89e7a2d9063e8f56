"""Questions of our own making, about everything: each intent in several phrasings, its slots filled from lists.

The phrasings of one intent with the same fillers have one answer; any two others have not.
"""

# ruff: noqa: E501, PLR2004 - word lists read best as words, and shares of a training set have no names

from __future__ import annotations

import random
import re
from typing import Final, NamedTuple

from _decision_lexicon import WordNet

__all__ = ["LISTS", "Question", "questions"]

LISTS: Final[dict[str, list[str]]] = {
    name: [item.strip() for item in items.replace("\n", " ").split(",")]
    for name, items in {
        "lang": "Python, Java, JavaScript, Rust, Go, C++, C#, Ruby, PHP, Swift, Kotlin, Scala, Perl, R, TypeScript, Haskell",
        "tech": """Docker, Kubernetes, Linux, Windows 10, Android, Excel, Photoshop, Git, MySQL, PostgreSQL, React,
            Angular, TensorFlow, AWS, Azure, WordPress, Redis, MongoDB, Bitcoin, Blender, Firefox, Chrome, Gmail,
            Outlook, Slack, Zoom, Spotify, Netflix, iPhone 12, MacBook, Instagram, Facebook, WhatsApp, Twitter,
            YouTube, Telegram, LinkedIn, Uber, PayPal, Kindle, PlayStation, Xbox, Alexa, Dropbox, Skype, Reddit""",
        "country": """India, Germany, China, France, Japan, Brazil, Canada, Australia, Mexico, Spain, Italy, Russia,
            Turkey, Egypt, Kenya, Nigeria, Sweden, Norway, Poland, Greece, Argentina, Chile, Vietnam, Thailand,
            Pakistan, Indonesia, Ireland, Portugal, the USA, the UK, the Netherlands, South Africa, New Zealand""",
        "city": """London, Paris, Berlin, Madrid, Rome, Tokyo, Delhi, Mumbai, Bangalore, Chennai, Sydney, Toronto,
            Chicago, Boston, Seattle, New York, Los Angeles, San Francisco, Dubai, Singapore, Istanbul, Moscow,
            Vienna, Prague, Lisbon, Dublin, Oslo, Cairo, Lagos, Nairobi, Bangkok, Seoul, Beijing, Shanghai""",
        "person": """Albert Einstein, Isaac Newton, Marie Curie, Napoleon, Shakespeare, Mozart, Picasso, Gandhi,
            Nelson Mandela, Barack Obama, Elon Musk, Steve Jobs, Bill Gates, Charles Darwin, Cleopatra, Plato,
            Leonardo da Vinci, Abraham Lincoln, Winston Churchill, Queen Victoria, Beethoven, Tesla, Galileo""",
        "name": "Anna, Peter, Maria, David, Sarah, Tom, Laura, James, Emma, Ahmed, Priya, Chen, Olga, Carlos, Ben, Lucy",
        "company": """Google, Amazon, Microsoft, Apple, Samsung, IBM, Intel, Oracle, Toyota, Tesla, Sony, Nokia, Dell,
            Adobe, Cisco, Siemens, Walmart, Nike, Boeing, Airbus, Deloitte, Infosys, Accenture, McKinsey""",
        "skill": """guitar, piano, chess, swimming, cooking, drawing, photography, public speaking, machine learning,
            statistics, calculus, Spanish, German, French, Japanese, English, Mandarin, yoga, dancing, singing,
            web development, data science, graphic design, accounting, meditation, juggling, driving, creative writing,
            touch typing, ethical hacking, video editing, investing, sewing, carpentry""",
        "goal": """lose weight, gain muscle, sleep better, save money, quit smoking, get rid of acne, improve my memory,
            make new friends, stop procrastinating, grow taller, reduce stress, get a promotion, write a novel,
            start a business, earn money online, improve my English, become more confident, overcome depression,
            wake up early, read faster, lower my cholesterol, get over a breakup, control my anger, pass the exam,
            find a job abroad, increase website traffic, stop overthinking, learn faster, whiten my teeth""",
        "task": """reset my password, cancel my subscription, change my email address, delete my account,
            track my order, return an item, get a refund, update my billing address, upgrade my plan, contact support,
            download my invoice, change my delivery date, verify my identity, add a second user, export my data,
            enable two-factor authentication, unlock my account, redeem a gift card, change my username,
            connect my bank account, report a lost card, stop the newsletter, apply a discount code, pause my membership""",
        "codetask": """reverse a string, sort a list, read a file, parse JSON, remove duplicates from an array,
            send an HTTP request, format a date, connect to a database, write unit tests, handle exceptions,
            merge two dictionaries, iterate over a map, generate random numbers, convert a string to an integer,
            check if a key exists, split a string, find the largest element, measure execution time,
            open a window, create a thread, round a number, concatenate two lists, count the words in a file""",
        "topic": """inflation, gravity, photosynthesis, democracy, blockchain, global warming, black holes, evolution,
            capitalism, feminism, quantum mechanics, artificial intelligence, vaccination, nuclear power, the internet,
            cryptocurrency, recession, recursion, osmosis, friction, electricity, globalization, karma, nationalism,
            dark matter, antibiotics, cloud computing, genetic engineering, renewable energy, minimalism""",
        "job": """software engineer, doctor, lawyer, teacher, pilot, nurse, accountant, data scientist, architect,
            civil engineer, journalist, chef, police officer, graphic designer, actor, dentist, plumber, electrician,
            product manager, writer, veterinarian, psychologist, farmer, mechanic, photographer, financial analyst""",
        "product": """laptop, phone, camera, headphones, car, bicycle, mattress, watch, printer, television, tablet,
            backpack, running shoes, vacuum cleaner, microwave, keyboard, monitor, coffee machine, drone, router,
            sofa, helmet, tent, sunscreen, shampoo, credit card, savings account, health insurance, web hosting""",
        "use": """students, gaming, beginners, travelling, video editing, small children, older people, programming,
            a small office, winter, outdoor use, music production, long trips, people with back pain, professionals""",
        "kind": "books, movies, songs, podcasts, restaurants, hotels, universities, apps, websites, courses, games, museums",
        "food": """rice, bread, eggs, chicken, fish, pizza, pasta, potatoes, chocolate, coffee, green tea, milk, cheese,
            honey, apples, bananas, tomatoes, onions, garlic, beans, lentils, beef, pork, soup, yoghurt, mushrooms""",
        "animal": "dogs, cats, horses, cows, snakes, sharks, elephants, birds, spiders, bees, rabbits, wolves, whales, frogs",
        "disease": """diabetes, asthma, malaria, cancer, migraine, pneumonia, flu, anxiety, depression, arthritis, anemia,
            high blood pressure, a cold, a fever, a sore throat, back pain, insomnia, eczema, dengue, tuberculosis""",
        "event": """World War 1, World War 2, the French Revolution, the moon landing, the Cold War, the Black Death,
            the fall of Rome, the Civil War, the Industrial Revolution, the Great Depression, the Renaissance""",
        "item": """passport, driving licence, visa, loan, mortgage, work permit, birth certificate, tax refund,
            bank account, scholarship, patent, library card, parking permit, student visa, business licence""",
        "unit": "kilometers, miles, pounds, kilograms, liters, gallons, feet, meters, inches, centimeters, ounces, grams",
        "money": "dollars, euros, rupees, yen, pounds, francs, pesos, yuan",
        "period": "days, weeks, months, years, hours",
        "day": "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday, today, tomorrow, tonight, next week",
        "year": "1990, 1995, 2000, 2005, 2008, 2010, 2012, 2014, 2015, 2016, 2018, 2019, 2020, 2022, 2024",
        "n": "2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 60, 75, 100, 120, 150, 200, 250, 300, 500, 1000, 5000",
        "age": "12, 14, 15, 16, 17, 18, 20, 21, 24, 25, 28, 30, 35, 40, 45, 50, 60, 70",
        "tongue": "French, Spanish, German, Italian, Hindi, Chinese, Russian, Arabic, Portuguese, Dutch, Korean, Turkish",
        "genre": "jazz, rock, classical, pop, folk, metal, reggae, hip hop, country, electronic, blues",
        "room": "living room, kitchen, bedroom, bathroom, garage, hallway, office, basement",
        "device": "lights, heating, fan, radio, television, alarm, camera, oven, air conditioning",
        "place": "restaurant, pharmacy, petrol station, cinema, supermarket, hospital, park, gym, bank, museum, café",
    }.items()
}

INTENTS: Final = """
How do I learn {skill}?|What is the best way to learn {skill}?|How can I learn {skill}?|What's a good way to learn {skill}?|how to learn {skill}|I want to learn {skill}, how do I go about it?|How should one learn {skill}?|How could I teach myself {skill}?
How long does it take to learn {skill}?|How much time do I need to learn {skill}?|how long to learn {skill}|In how much time can one learn {skill}?|What time does it take to master {skill}?
Is {skill} hard to learn?|How difficult is it to learn {skill}?|Is learning {skill} difficult?|Is it hard to learn {skill}?
Why should I learn {skill}?|What are the reasons to learn {skill}?|Is it worth learning {skill}, and why?|What are the benefits of learning {skill}?
What are the best books to learn {skill}?|Which books are good for learning {skill}?|Can you recommend a good book on {skill}?|Which is the best book for {skill}?|What book should I read to learn {skill}?
Where can I learn {skill} for free?|What are some free resources to learn {skill}?|Which website teaches {skill} for free?|How can I learn {skill} without paying?
How do I {goal}?|How can I {goal}?|What is the best way to {goal}?|What should I do to {goal}?|how to {goal}|What are some ways to {goal}?|What can I do to {goal}?|Please tell me how to {goal}.|What is the easiest way to {goal}?|How does one {goal}?
How do I {goal} in {n} {period}?|How can I {goal} within {n} {period}?|What is the best way to {goal} in {n} {period}?|Is there a way to {goal} in {n} {period}?
Why is it so hard to {goal}?|Why can't I {goal}?|What makes it difficult to {goal}?|Why do I fail to {goal}?
Should I try to {goal}?|Is it a good idea to {goal}?|Would you advise me to {goal}?
How do I {task}?|How can I {task}?|I want to {task}.|Where can I {task}?|I need to {task}, what do I do?|what are the steps to {task}|Please help me {task}|Can you help me to {task}?|I'd like to {task}|What do I have to do to {task}?
Why can't I {task}?|I am not able to {task}, why?|It won't let me {task}.|I'm unable to {task}|What is wrong when I cannot {task}?
How long does it take to {task}?|How much time is needed to {task}?|When will it be done if I {task}?
Does it cost anything to {task}?|Is there a fee to {task}?|How much does it cost to {task}?|Will I be charged if I {task}?|What does it cost me to {task}?
Can someone else {task} for me?|Is another person allowed to {task} on my behalf?|May my wife {task} for me?
How do I {codetask} in {lang}?|What is the best way to {codetask} in {lang}?|How can I {codetask} using {lang}?|{lang}: how to {codetask}|In {lang}, how do you {codetask}?|Show me how to {codetask} with {lang}.|Write {lang} code to {codetask}.
Why does my {lang} program fail to {codetask}?|My {lang} code can't {codetask}, why?|What is wrong if {lang} does not {codetask}?
What is the fastest way to {codetask} in {lang}?|How do I {codetask} most quickly in {lang}?|Which is the quickest method to {codetask} in {lang}?
What is {topic}?|What does {topic} mean?|Can you explain {topic}?|Explain {topic}.|What is meant by {topic}?|Define {topic}|What exactly is {topic}?|Tell me what {topic} is|What is the meaning of {topic}?
What are the causes of {topic}?|What causes {topic}?|What are the reasons for {topic}?|Why does {topic} happen?|What leads to {topic}?
What are the effects of {topic}?|What are the consequences of {topic}?|What does {topic} lead to?|How does {topic} affect us?|What impact does {topic} have?
What are the advantages of {topic}?|What are the benefits of {topic}?|What is good about {topic}?|What are the pros of {topic}?
What are the disadvantages of {topic}?|What are the drawbacks of {topic}?|What is bad about {topic}?|What are the cons of {topic}?
What are the pros and cons of {topic}?|What are the advantages and disadvantages of {topic}?|What are the benefits and drawbacks of {topic}?
What is the history of {topic}?|How did {topic} develop over time?|When and how did {topic} begin?
What are some examples of {topic}?|Can you give me an example of {topic}?|Give some examples of {topic}|What would be an example of {topic}?
Who invented {topic}?|Who came up with {topic}?|Who discovered {topic}?|Who was the first to discover {topic}?
Is {topic} real?|Does {topic} really exist?|Is there such a thing as {topic}?
Explain {topic} to a child.|Explain {topic} like I'm five|How would you explain {topic} to a kid?|Describe {topic} in a way that a child understands.
Write an essay about {topic}.|Can you write an essay on {topic}?|I need an essay about {topic}|Please compose an essay on {topic}
Write a poem about {topic}.|Can you compose a poem on {topic}?|Please make up a poem about {topic}|I'd like a poem about {topic}
What is the difference between {topic} and {topic2}?|How does {topic} differ from {topic2}?|What are the differences between {topic2} and {topic}?|{topic} vs {topic2}|How is {topic2} different from {topic}?
What is the relation between {topic} and {topic2}?|How are {topic} and {topic2} related?|How is {topic2} connected with {topic}?
How does {topic} affect {topic2}?|What is the effect of {topic} on {topic2}?|What impact does {topic} have on {topic2}?|In what way does {topic} influence {topic2}?
How do I become a {job}?|What should I do to become a {job}?|How can I become a {job}?|What does it take to become a {job}?|I want to be a {job}, what are the steps?|What is the path to becoming a {job}?
How much does a {job} earn?|What is the salary of a {job}?|How much money does a {job} make?|What is the average pay of a {job}?|What do you earn as a {job}?
What does a {job} do?|What is the work of a {job}?|What are the duties of a {job}?|What does a {job} do all day?
How much does a {job} earn in {country}?|What is the salary of a {job} in {country}?|What is the average pay for a {job} in {country}?
What is it like to be a {job}?|How does it feel to be a {job}?|What is life like as a {job}?
Should I become a {job} or a {job2}?|Which career is better, {job} or {job2}?|What is better: {job2} or {job}?|Is it better to be a {job} or a {job2}?
How do I get a job at {company}?|How can I get hired by {company}?|What should I do to work at {company}?|What is the best way to get a job in {company}?
What is it like to work at {company}?|How is the work culture at {company}?|How does it feel to work for {company}?
Who founded {company}?|Who is the founder of {company}?|Who started {company}?|By whom was {company} founded?
Who is the CEO of {company}?|What is the name of {company}'s CEO?|Who runs {company}?
Where is {company} based?|Where is the headquarters of {company}?|In which city is {company} headquartered?
Will {company} buy {company2}?|Is {company} going to acquire {company2}?|Is {company} planning to take over {company2}?
Which is better, {tech} or {tech2}?|Is {tech} or {tech2} better?|What should I choose, {tech2} or {tech}?|{tech} or {tech2}, which one is better?
Is {tech} better than {tech2}?|Does {tech} beat {tech2}?|Is {tech} superior to {tech2}?
Why is {tech} better than {tech2}?|What makes {tech} better than {tech2}?|In what way is {tech} superior to {tech2}?
How do I move from {tech} to {tech2}?|How can I migrate from {tech} to {tech2}?|What is the best way to switch from {tech} to {tech2}?|How to go from {tech} over to {tech2}
How do I install {tech}?|How can I install {tech} on my computer?|What are the steps to install {tech}?|how to set up {tech}|Please guide me through the installation of {tech}.
How do I uninstall {tech}?|How can I remove {tech} from my computer?|how to get rid of {tech}|What is the way to uninstall {tech}?
Why is {tech} so slow?|What makes {tech} slow?|Why does {tech} run slowly?|{tech} is very slow, why?
Why is {tech} so popular?|What makes {tech} so popular?|What are the reasons for the popularity of {tech}?|Why do so many people use {tech}?
How does {tech} work?|How does {tech} actually work?|Can you explain how {tech} works?|What is the working principle of {tech}?
How does {tech} make money?|What is the business model of {tech}?|How does {tech} earn its revenue?|Where does the money of {tech} come from?
What are the alternatives to {tech}?|What can I use instead of {tech}?|Which other tools are like {tech}?|Is there a good alternative to {tech}?
Is {tech} safe?|Is it safe to use {tech}?|Can I use {tech} safely?|How secure is {tech}?
Can I use {tech} without an account?|Is it possible to use {tech} without signing up?|Do I need an account for {tech}?
Does {tech} work with {tech2}?|Is {tech} compatible with {tech2}?|Can I use {tech} together with {tech2}?
What are the best {kind} in {city}?|Which are the best {kind} in {city}?|What {kind} in {city} are good?|Which {kind} in {city} would you recommend?|top {kind} in {city}
What are the best {kind} about {topic}?|Which {kind} about {topic} are good?|Can you suggest some {kind} on {topic}?|Which are the best {kind} on {topic}?
What are the worst {kind} in {city}?|Which are the worst {kind} in {city}?|Which {kind} in {city} should I avoid?
What are the cheapest {kind} in {city}?|Which {kind} in {city} cost the least?|Where are cheap {kind} in {city}?
What is the best {product} for {use}?|Which {product} is best for {use}?|Which {product} should I buy for {use}?|Can you recommend a {product} for {use}?|What's a good {product} for {use}?
What is the best {product} under {n} {money}?|Which {product} under {n} {money} is the best?|Which is the best {product} for less than {n} {money}?|What {product} should I buy below {n} {money}?
Where can I buy a {product} in {city}?|Where do they sell {product} in {city}?|In which shop in {city} can I get a {product}?|Where in {city} should I go to buy a {product}?
How do I repair my {product}?|How can I fix my {product}?|My {product} is broken, how do I fix it?|What is the way to repair a {product}?
How do I clean my {product}?|What is the best way to clean a {product}?|How should a {product} be cleaned?|How to clean a {product}
How long does a {product} last?|What is the lifetime of a {product}?|After how many years should I replace my {product}?
How do I choose a {product}?|What should I look for when buying a {product}?|What should I consider before I buy a {product}?
What is the capital of {country}?|Which city is the capital of {country}?|Name the capital of {country}|What is {country}'s capital?|capital of {country}
What is the population of {country}?|How many people live in {country}?|How many inhabitants does {country} have?|How big is the population of {country}?
What language is spoken in {country}?|Which language do people speak in {country}?|What is the language of {country}?
What is the currency of {country}?|Which currency is used in {country}?|What money do they use in {country}?
Is it safe to travel to {country}?|Is {country} safe for tourists?|How safe is it to visit {country}?|Is {country} a safe place to travel?
What is the best time to visit {country}?|When should I visit {country}?|When is the best time to go to {country}?|Which season is best for visiting {country}?
What is {country} famous for?|What is {country} known for?|For what is {country} famous?
Do I need a visa for {country}?|Is a visa required to enter {country}?|Do I have to get a visa to travel to {country}?
How do I get a {item} in {country}?|How can I obtain a {item} in {country}?|What is the process of getting a {item} in {country}?|How do I apply for a {item} in {country}?|What do I have to do to get a {item} in {country}?
How much does a {item} cost in {country}?|What is the fee for a {item} in {country}?|What does a {item} cost in {country}?
How do I renew my {item}?|How can I get my {item} renewed?|What is the procedure to renew a {item}?
What documents are needed for a {item}?|Which documents do I need to get a {item}?|What papers are required for a {item}?
Who is the president of {country}?|Who is {country}'s president?|What is the name of the president of {country}?
Who was the president of {country} in {year}?|Who was {country}'s president in {year}?|In {year}, who was president of {country}?
How did {country} win independence?|How did {country} become independent?|In what way did {country} gain its independence?
When did {country} become independent?|In which year did {country} gain independence?|What year did {country} become independent?
Will {country} go to war with {country2}?|Is a war between {country} and {country2} likely?|Could there be a war between {country2} and {country}?
Why did {country} attack {country2}?|What made {country} attack {country2}?|For what reason did {country} invade {country2}?
How do I get from {city} to {city2}?|What is the best way to travel from {city} to {city2}?|How can I go from {city} to {city2}?|How do I reach {city2} from {city}?|How to travel to {city2} from {city}
How far is {city} from {city2}?|What is the distance between {city} and {city2}?|How many miles is it from {city2} to {city}?|How far is it from {city} to {city2}?
How long is the flight from {city} to {city2}?|How much time does it take to fly from {city} to {city2}?|How many hours is a flight to {city2} from {city}?
Book a flight from {city} to {city2} on {day}.|I need a flight from {city} to {city2} {day}|Find me a flight to {city2} from {city} for {day}|Please book me a plane from {city} to {city2} on {day}
What is the weather like in {city} on {day}?|What will the weather be in {city} {day}?|weather in {city} {day}|Tell me the forecast for {city} on {day}|How's the weather going to be in {city} {day}?
Will it rain in {city} on {day}?|Is it going to rain in {city} {day}?|Is rain expected in {city} on {day}?|Any rain in {city} {day}?
What time is it in {city}?|What is the current time in {city}?|Tell me the time in {city}|current time in {city}
What is the cost of living in {city}?|How expensive is it to live in {city}?|How much does it cost to live in {city}?|How much money do I need to live in {city}?
What should I see in {city}?|What are the best things to do in {city}?|Which sights should I visit in {city}?|What is there to do in {city}?
What can I do in {city} in {n} {period}?|What should I see in {city} if I have {n} {period}?|How do I spend {n} {period} in {city}?
Who was {person}?|Who is {person}?|Tell me about {person}.|Can you tell me who {person} was?
When was {person} born?|What is the birthday of {person}?|In which year was {person} born?|What is the date of birth of {person}?
When did {person} die?|In what year did {person} die?|What year did {person} pass away?
How did {person} die?|What was the cause of {person}'s death?|What did {person} die of?
Why is {person} famous?|What is {person} famous for?|What made {person} famous?|What is {person} known for?
Where was {person} born?|What is the birthplace of {person}?|In which town was {person} born?
What did {person} say about {person2}?|What was {person}'s opinion of {person2}?|What did {person} think of {person2}?
Did {person} ever meet {person2}?|Did {person} and {person2} ever meet?|Have {person2} and {person} met?
How old was {person} in {year}?|What was the age of {person} in {year}?|In {year}, how old was {person}?
Can {animal} eat {food}?|Is {food} safe for {animal}?|Are {animal} allowed to eat {food}?|May I give {food} to {animal}?
Why do {animal} eat {food}?|What makes {animal} eat {food}?|For what reason do {animal} like eating {food}?
How long do {animal} live?|What is the lifespan of {animal}?|What age do {animal} reach?|How old do {animal} get?
Why are people afraid of {animal}?|What makes people fear {animal}?|Why do so many people fear {animal}?
Are {animal} smarter than {animal2}?|Are {animal} more intelligent than {animal2}?|Do {animal} have more intelligence than {animal2}?
Do {animal} kill {animal2}?|Are {animal2} killed by {animal}?|Is it true that {animal} kill {animal2}?
How do I cook {food}?|What is the best way to cook {food}?|How should I cook {food}?|how to prepare {food}|How are {food} cooked?
How do I store {food}?|What is the best way to keep {food} fresh?|How should {food} be stored?
Is {food} good for you?|Is eating {food} healthy?|Is {food} healthy?|Does {food} do you good?
Is {food} bad for you?|Is eating {food} unhealthy?|Is {food} harmful?|Does {food} harm your health?
How many calories are in {food}?|What is the calorie content of {food}?|How many calories does {food} have?
Can I eat {food} if I have {disease}?|Is {food} allowed with {disease}?|Is it OK to eat {food} with {disease}?
Can I eat {food} every day?|Is it fine to eat {food} daily?|Is eating {food} every day OK?
Can I replace {food} with {food2}?|Is it possible to use {food2} instead of {food}?|Can {food2} be used in place of {food}?
What are the symptoms of {disease}?|Which symptoms does {disease} have?|How do I know if I have {disease}?|What are the signs of {disease}?
How is {disease} treated?|What is the treatment for {disease}?|How can I treat {disease}?|What is the best treatment of {disease}?|What helps against {disease}?
How can I prevent {disease}?|What can I do to avoid {disease}?|How do I avoid getting {disease}?|How is {disease} prevented?
What causes {disease}?|What is the cause of {disease}?|Why do people get {disease}?|What are the reasons for {disease}?
Is {disease} contagious?|Can you catch {disease} from another person?|Can {disease} be passed on to others?
Can {disease} cause {disease2}?|Can you get {disease2} from {disease}?|Does {disease} lead to {disease2}?
When did {event} start?|When did {event} begin?|In which year did {event} start?|What year did {event} begin?
When did {event} end?|In which year did {event} end?|What year was {event} over?
Why did {event} happen?|What were the causes of {event}?|What caused {event}?|What led to {event}?
What happened before {event}?|Which events came before {event}?|What took place before {event}?
What happened after {event}?|Which events followed {event}?|What took place after {event}?
How many {unit} are {n} {unit2}?|Convert {n} {unit2} to {unit}|What is {n} {unit2} in {unit}?|How much is {n} {unit2} in {unit}?|{n} {unit2} in {unit}
How much is {n} {money} in {money2}?|Convert {n} {money} to {money2}|What is {n} {money} in {money2}?|{n} {money} to {money2}|How many {money2} do I get for {n} {money}?
What is {n} plus {n2}?|How much is {n} + {n2}?|Add {n} and {n2}|{n} + {n2}|What is the sum of {n} and {n2}?
What is {n} times {n2}?|Multiply {n} by {n2}|How much is {n} multiplied by {n2}?|What is the product of {n} and {n2}?
What is {n} minus {n2}?|Subtract {n2} from {n}|How much is {n} less {n2}?
What is {n} divided by {n2}?|Divide {n} by {n2}|How much is {n} over {n2}?
What is {n} percent of {n2}?|How much is {n}% of {n2}?|Calculate {n} % of {n2}
Is {n} {money} enough for {n2} {period} in {city}?|Can I live in {city} for {n2} {period} on {n} {money}?|Will {n} {money} last {n2} {period} in {city}?
I am {age} years old. Is it too late to become a {job}?|Can I still become a {job} at {age}?|At the age of {age}, is it too late to be a {job}?|I'm {age}, am I too old to become a {job}?
What should I do at the age of {age}?|What should a {age} year old do with his life?|I'm {age}, what should I do?
I earn {n} {money} a month. How much should I save?|How much of {n} {money} a month should I put aside?|With {n} {money} per month, how much should one save?
How do you say {topic} in {tongue}?|What is the {tongue} word for {topic}?|Translate {topic} into {tongue}|What is {topic} called in {tongue}?
Translate this text from {tongue} to {tongue2}: {sentence}|Please translate from {tongue} into {tongue2}: {sentence}|Give me the {tongue2} translation of this {tongue} text: {sentence}
Translate the following into {tongue}: {sentence}|Please translate this text to {tongue}: {sentence}|How would you say this in {tongue}? {sentence}
Summarize this paragraph: {sentence}|Give me a summary of this paragraph: {sentence}|Sum up the paragraph below. {sentence}|Please write a short summary of the following paragraph: {sentence}
Is the tone of this message friendly? {sentence}|Does this message sound friendly? {sentence}|Tell me if the following message has a friendly tone: {sentence}
Correct the grammar of this sentence: {sentence}|Fix the grammatical mistakes in this sentence: {sentence}|Please correct the following sentence: {sentence}
Extract all names from this text: {sentence}|List the names that occur in this text: {sentence}|Which names are mentioned in the following text? {sentence}
Rewrite this in a formal style: {sentence}|Make this text more formal: {sentence}|Please rephrase the following formally: {sentence}
What is the main topic of this text? {sentence}|Which topic is the following text about? {sentence}|Name the subject of this text: {sentence}
Write an email to {name} about {topic}.|Compose an email to {name} on {topic}|Draft a mail about {topic} to {name}|Please write {name} an email regarding {topic}
Send {n} {money} from {name} to {name2}.|Transfer {n} {money} from {name}'s account to {name2}|Please move {n} {money} from {name} over to {name2}
Remind me to call {name} on {day}.|Set a reminder to call {name} {day}|I need a reminder on {day} to phone {name}|Please remind me {day} to ring {name}
Set a timer for {n} minutes.|Start a {n} minute timer|Can you set a timer of {n} minutes?|timer {n} minutes please
Wake me up at {n} on {day}.|Set an alarm for {n} on {day}|I want an alarm at {n} {day}
Turn on the {device} in the {room}.|Switch the {room} {device} on|Please turn the {device} on in the {room}|Could you switch on the {device} in the {room}?
Turn off the {device} in the {room}.|Switch the {room} {device} off|Please turn the {device} off in the {room}|Could you switch off the {device} in the {room}?
Play some {genre} music.|I want to hear {genre}|Put on some {genre}|Can you play {genre} for me?|play {genre} songs
Play {genre} in the {room}.|Put on {genre} music in the {room}|I'd like to hear {genre} in the {room}
Find a {place} near {city}.|Is there a {place} close to {city}?|Show me a {place} near {city}|Where is the nearest {place} in {city}?
Book a table for {n} at a {place} in {city} on {day}.|Reserve a table for {n} people in a {city} {place} {day}|I need a {place} table in {city} for {n} on {day}
When does the {place} in {city} open?|What time does the {city} {place} open?|From what time is the {place} in {city} open?
When does the {place} in {city} close?|What time does the {city} {place} close?|Until what time is the {place} in {city} open?
What would happen if {country} left the UN?|What are the consequences if {country} leaves the UN?|Suppose {country} leaves the UN, what happens?
What do people in {country} think about {country2}?|What is the opinion of people in {country} about {country2}?|How do people from {country} see {country2}?
Are there more people in {country} than in {country2}?|Does {country} have a larger population than {country2}?|Is the population of {country} bigger than that of {country2}?
Can I move to {country} without a job?|Is it possible to move to {country} with no job?|May I settle in {country} without having work?
How can I move from {country} to {country2}?|What is the best way to emigrate from {country} to {country2}?|How do I relocate to {country2} from {country}?
Who will win the election in {country}?|Who is going to win {country}'s election?|Which candidate will win the elections in {country}?
Who won the election in {country} in {year}?|Which candidate won {country}'s {year} election?|Who was elected in {country} in {year}?
What happened in {country} in {year}?|What were the main events in {country} in {year}?|Which events took place in {country} in {year}?
What is your favourite thing about {city}?|What do you like most about {city}?|What do you love best in {city}?
What do you hate about {city}?|What do you dislike most about {city}?|What is the worst thing about {city}?
What is the best {lang} framework?|Which framework is best for {lang}?|Which {lang} framework should I use?
Is {lang} faster than {lang2}?|Does {lang} run faster than {lang2}?|Is {lang} quicker than {lang2}?
Should I learn {lang} or {lang2} first?|Which should I learn first, {lang2} or {lang}?|What is better to begin with, {lang} or {lang2}?
How do I convert {lang} code to {lang2}?|How can I translate a program from {lang} into {lang2}?|What is the way to port code from {lang} to {lang2}?
What was new in {lang} {n}?|What are the new features of {lang} {n}?|Which features came with {lang} version {n}?
How do I upgrade {tech} from version {n} to {n2}?|How can I update {tech} {n} to version {n2}?|What are the steps of upgrading from {tech} {n} to {n2}?
"""

_SLOT: Final = re.compile(r"\{([a-z]+)(\d?)\}")


class Question(NamedTuple):
    """One phrasing of one intent."""

    text: str
    answer: str
    """What two questions with the same answer share."""


def sentences(net: WordNet) -> list[str]:
    """Examples and glosses of WordNet: plain English sentences about anything."""
    found: list[str] = []
    for sense, gloss in sorted(net.glosses.items()):
        if sense[0] == "noun" and 60 < len(gloss) < 200 and '"' not in gloss:
            name = net.members[sense][0].replace("_", " ")
            found.append(f"{name.capitalize()} means {gloss.split(';')[0]}.")
        found += [quote.strip().capitalize() + "." for quote in re.findall(r'"([^"]{45,140})"', gloss)]
    return found


def questions(
    net: WordNet, chance: random.Random, *, each: int, phrasings: int = 3, having: str = ""
) -> list[Question]:
    """For every intent several fillings, each in some of its phrasings.

    Args:
        net: where sentences come from.
        chance: decides.
        each: fillings of an intent with slots.
        phrasings: of one filling.
        having: only intents with this slot.
    """
    lists = {**LISTS, "sentence": sentences(net)}
    found: list[Question] = []
    for number, line in enumerate(INTENTS.strip().split("\n")):
        if having and "{" + having + "}" not in line:
            continue
        variants = line.split("|")
        slots = sorted(set(_SLOT.findall(line)))
        seen: set[str] = set()
        fixed = {name: chance.sample(lists[name], min(4, len(lists[name]))) for name, _ in slots}
        for _ in range(each):
            # Half the time from a few fillers only, so that questions share some of theirs with others.
            filled: dict[str, str] = {}
            for name, second in slots:
                pool = fixed[name] if chance.random() < 0.5 else lists[name]
                choice = chance.choice([item for item in pool if item not in filled.values()])
                filled[name + second] = choice
            answer = f"{number}:{sorted(filled.items())}"
            if answer in seen:
                continue
            seen.add(answer)
            for variant in chance.sample(variants, min(phrasings, len(variants))):
                text = _SLOT.sub(lambda slot: filled[slot[1] + slot[2]], variant)  # noqa: B023 - used at once
                found.append(Question(text, answer))
    return found
